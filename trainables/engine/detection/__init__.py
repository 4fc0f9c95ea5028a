"""What detection needs beside the engine: annotated pictures, models by name, COCO's scores."""
