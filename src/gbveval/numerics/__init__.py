"""Arrays in, small frozen values out; letters follow the papers that are cited."""
