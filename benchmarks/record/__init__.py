"""Time to quality: seconds of training until samples are as near to real images as asked for."""
