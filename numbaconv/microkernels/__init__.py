"""What two or more strategies share: the register tile, packing of halos and panels, the sweep of tiles over a block.

The tile contract. A tile computes ``mr`` rows (output channels) by ``nv`` vectors of ``lanes`` pixels::

    y[i, p] = (b[i] if first else y[i, p]) + sum_k w[i, k] * x[p, k]        i < rows,  p < count of its vector

Rows lie ``y_row`` and ``w_row`` apart. Each vector of pixels has three words in the table: where it lies in ``x``,
where in ``y``, and how many of its lanes count. Each term has two: its offset in ``x`` and in ``w``. So one tile reads
halos, panels, or the user's own array, and packed weights or the user's own.

* Loads of ``x`` are whole vectors: whoever lays out ``x`` leaves ``lanes`` elements after the last pixel.
* Stores are masked by ``count`` and ``rows``: nothing is written twice, nothing outside.

Glossary: *term* one product of the sum; *tap* a position in the kernel; *halo* the inputs that a block of outputs
needs; *panel* terms by pixels, one row a term; *piece* a part of a row that is contiguous in a halo and in a panel.
"""
