"""A debugger of this machine on a board's `edge-infer`."""
