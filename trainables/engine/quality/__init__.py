"""What image quality needs beside the engine: rated images, patches of them, HyperIQA, rank correlations."""
