"""Feature extraction: text and image features of items, by neural encoders in ONNX."""
