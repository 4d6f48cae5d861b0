// tern.KvAttention, after kv_store.wgsl: causal attention over the float16 cache.
//
// Formula, parameters, workgroup: include/attention.wgsl. Bindings: group 0, 0 = q [batch, rows, heads dim], 1 = y alike;
// 2 .. 6: include/attention_cache.wgsl.

@compute @workgroup_size(64, 1, 1)
fn attention_kv(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  attention_block(t, workgroup);
}
