"""What finding persons again needs beside the engine: sightings, networks, Market-1501's scores."""
