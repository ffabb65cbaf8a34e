"""What the device is, and how it is: everything read below one root, which tests and the demo point elsewhere."""
