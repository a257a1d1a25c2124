"""From the files of a folder to checked columns and arrays under one numbering."""
