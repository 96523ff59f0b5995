"""What measures: real layers, the clock, exact samples, memory, and the commands `demo` and `bench` built of them."""
