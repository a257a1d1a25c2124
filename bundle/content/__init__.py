"""From titles and pictures to features, by ONNX encoders: alike for training and for new items.

Needs the extra `content` (Pillow, tokenizers); nothing outside of this folder imports it unasked.
"""
