"""Content encoders: titles and pictures to features, for training and for new items alike.

Needs the extra `content` (Pillow, tokenizers). Other packages import it only where it is asked for.
"""
