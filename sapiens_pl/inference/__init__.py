"""From crops to keypoints: the LightningModule, decoding on the device, copies to the host, the best batch size."""
