// Whether a device does what chains take for granted (include/chain.wgsl): a workgroup waits for all of the dispatch before
// it, adds one to what one of them wrote, and writes that for the next one. The host knows what is right at the end
// (backends/gpu/gpu_chain_check.c). Two rows take turns, so that a processor may have old words of either.
//
// Bindings: 0 = the two rows, each `groups` words; 1 = counters of the chain. Workgroup: 256, of which all wait.

const CHAIN_BINDING: u32 = 1u;
const CHAIN_CHECK_STRIDE: u32 = 7u;  // odd: whose word it is, differs from one's own but for few

struct ChainCheckParams {
  chain: u32,      // chain.wgsl's word
  groups: u32,     // workgroups of each dispatch, a power of two
  from_row: u32,
  to_row: u32,
}

@coherent @group(0) @binding(0) var<storage, read_write> chain_check_rows: array<u32>;
var<immediate> chain_check_params: ChainCheckParams;

@compute @workgroup_size(256, 1, 1)
fn chain_check(@builtin(local_invocation_index) t: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let n = chain_check_params.groups;
  chain_wait(chain_check_params.chain, t, group.x);
  if t == 0u {
    let other = (group.x * CHAIN_CHECK_STRIDE + 1u) & (n - 1u);
    chain_check_rows[chain_check_params.to_row * n + group.x] = chain_check_rows[chain_check_params.from_row * n + other] + 1u;
  }
  chain_done(chain_check_params.chain, t, n);
}
