"""Instance segmenters: an encoder, a head, a masked-attention decoder and a projection."""
