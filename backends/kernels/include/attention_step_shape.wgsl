// What variants of attention_step.wgsl differ in. Before all that uses it: naga wants to see an override before the sizes of
// arrays that other overrides give.

override attention_step_chunks: u32 = 1u;  // of a key to an invocation: 1, 2, 4 for heads of up to 64, 128, 256 values
override attention_step_invocations: u32 = 256u;
