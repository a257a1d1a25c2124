"""From titles and pictures to features, by ONNX encoders."""
