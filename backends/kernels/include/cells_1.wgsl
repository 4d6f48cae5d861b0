// Layout kernels move cells: one word here, four in cells_4.wgsl, where sizes, steps and offsets allow that.
alias Cell = u32;
