"""The objective: the Mask2Former set loss and the instance-aware pixel-wise contrastive term."""
