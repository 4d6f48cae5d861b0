// tern.KvAttention: causal attention over the float16 cache, after kv_store.wgsl; or storing the new rows itself.
//
// Formula, parameters, workgroup: include/attention.wgsl. Bindings: group 0, 0 = q [batch, rows, heads dim], 1 = y alike;
// the others: include/attention_causal.wgsl, attention_cache.wgsl or attention_fresh.wgsl.

const ATTENTION_INVOCATIONS: u32 = 64u;

@compute @workgroup_size(64, 1, 1)
fn attention_kv(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) workgroup: vec3<u32>) {
  let head = workgroup.y + attention_first_head();
  attention_begin(t, head / attention.kv_heads, head % attention.kv_heads, true);
  attention_block(t, vec3<u32>(workgroup.x, head, 0u));
  attention_keep(t, head / attention.kv_heads, head % attention.kv_heads, workgroup.x == 0u);
}
