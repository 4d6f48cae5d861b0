// As cells_1.wgsl: cells of four words.
alias Cell = vec4<u32>;
