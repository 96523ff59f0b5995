"""What measures: real layers, the clock, exact samples, the peak, and the commands `demo` and `bench` built of them."""
