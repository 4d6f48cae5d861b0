// Dispatches behind one another that wait for each other themselves. The next one is recorded without a barrier: its
// workgroups start while those of the one before still run, learn their parameters, ask for weights, and wait for the
// rest by a counter. A barrier makes all that begin when the last workgroup has ended (on large GPUs two microseconds and
// the first words of memory later: docs/performance.md).
//
// A GPU starts the workgroups of a queue in order, so that whoever waits does not keep those that it waits for from
// running. Vulkan does not promise it: who has waited too long raises the alarm and goes on, and the host, who finds it
// raised, runs the whole again with barriers (backends/gpu/gpu_chain.c; docs/architecture.md, Chains). What a dispatch
// reads before chain_wait must be there before the chain begins; what others of the chain write or read after it is
// declared @coherent.
//
// Binding: CHAIN_BINDING (a constant of the including file) = an alarm, then a counter for each dispatch, 32 words apart,
// zero between chains. The kernel gets a word: bit 0 another dispatch waits for this one, bits 1 .. 15 its counter, from 1
// on, bits 16 .. how many workgroups it waits for, which count on the one before; 0: no chain.

const CHAIN_FOLLOWED: u32 = 1u;
const CHAIN_STEP: u32 = 32u;
const CHAIN_PATIENCE: u32 = 1000000u;  // looks: some 0.7 s on a large GPU

@coherent @group(0) @binding(CHAIN_BINDING) var<storage, read_write> chain_counters: array<atomic<u32>>;

fn chain_counter(word: u32) -> u32 {
  return ((word >> 1u) & 32767u) * CHAIN_STEP;
}

// All of the workgroup call; `t`: the invocation, `group`: the workgroup.
fn chain_wait(word: u32, t: u32, group: u32) {
  let arrivals = word >> 16u;
  if arrivals != 0u {
    let own = chain_counter(word);
    if t == 0u {
      var arrived = false;
      for (var looks = 1u; looks < CHAIN_PATIENCE; looks += 1u) {
        arrived = atomicLoad(&chain_counters[own - CHAIN_STEP]) >= arrivals;
        if arrived || (looks % 1024u == 0u && atomicLoad(&chain_counters[0]) != 0u) {
          break;
        }
      }
      if !arrived {  // there are devices that end long loops, too
        atomicStore(&chain_counters[0], 1u);
      }
      // All of the one before have waited for the one before that, whose counter nobody looks at any more.
      if group == 0u && own > 2u * CHAIN_STEP {
        atomicStore(&chain_counters[own - 2u * CHAIN_STEP], 0u);
      }
    }
    storageBarrier();
  }
}

// All of the workgroup call, after their last store.
fn chain_done(word: u32, t: u32, groups: u32) {
  if (word & CHAIN_FOLLOWED) != 0u {
    storageBarrier();
    if t == 0u {
      atomicAdd(&chain_counters[chain_counter(word)], 1u);
    }
  } else if word != 0u && t == 0u {
    // The chain ends: the last one clears what nobody else will.
    let own = chain_counter(word);
    if atomicAdd(&chain_counters[own], 1u) == groups - 1u {
      atomicStore(&chain_counters[own], 0u);
      atomicStore(&chain_counters[own - CHAIN_STEP], 0u);
    }
  }
}
