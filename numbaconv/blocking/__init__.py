"""How a plan cuts a problem: blocks, the layout of halos, the order of weights; plain decisions and tables of words."""
