"""What the reader of a report sees: figures in, a letter out. Needs the extra `digest`; the curve needs `charts`."""
