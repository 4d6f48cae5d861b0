// A pipeline's worker: downloads, memory and all computing happen here. Speaks with tern.js: {id, op, ...} in,
// {id, result | error | event} out. Operations run one after the other: one that waits for the device lets messages in.
import {constants} from './abi.js';
import {Engine, TernError, createSharedMemory} from './engine.js';
import {loadModel} from './source.js';
import {openStore} from './store.js';

const WARNING = constants.TERN_LOG_WARNING;
let engine, pipeline, device;
let warned = false; // the library said something that may be the end of the device
const aborts = new Map();

/** Whether the page wants the running operation stopped. A worker that computes receives no messages: the page sets a flag in
 *  shared memory or, where there is none, revokes a blob: URL, which a synchronous request notices. */
function cancelCheck(cancel) {
  if (!cancel) return undefined;
  if (cancel.flag) {
    const flag = new Int32Array(cancel.flag);
    return () => Atomics.load(flag, 0) !== 0;
  }
  const revoked = () => {
    const request = new XMLHttpRequest();
    try {
      request.open('GET', cancel.url, false);
      request.send();
      return request.status !== 200;
    } catch {
      return true;
    }
  };
  // A policy of the page may forbid such requests: then only the next message stops an operation.
  return revoked() && !cancel.known ? () => false : ((cancel.known = true), revoked);
}

async function startThreads(module, memory, count) {
  return Promise.all(
    Array.from(
      {length: count},
      () =>
        new Promise((resolve, reject) => {
          const worker = new Worker(new URL('./thread.js', import.meta.url), {type: 'module'});
          worker.onmessage = () => resolve(task => worker.postMessage(task));
          worker.onerror = event => reject(new TernError('INTERNAL', `thread.js failed: ${event.message}`));
          worker.postMessage({module, memory});
        }),
    ),
  );
}

/** What stands for `wanted`: {device, gpu}. 'auto' is a GPU that is one, and WebAssembly where there is none. */
async function chooseDevice(wanted, say) {
  const auto = wanted === 'auto';
  if (!auto && !/^webgpu(:|$)/.test(wanted)) return {device: wanted};
  const {Gpu} = await import('./gpu.js');
  try {
    const gpu = await Gpu.request();
    if (!auto || !gpu.software) return {device: auto ? 'webgpu' : wanted, gpu};
    gpu.destroy();
    say(`device 'wasm': the only WebGPU adapter is '${gpu.name}', which computes on the CPU`);
  } catch (error) {
    if (error.name !== 'NoGpu') throw error;
    if (!auto) return {device: wanted, gpu: error.message};
    say(`device 'wasm': ${error.message}`);
  }
  return {device: 'wasm'};
}

/** The device, when the library may have left it for the CPU. */
function currentDevice() {
  if (warned && device !== 'wasm') device = engine.profile(pipeline)?.device ?? device;
  warned = false;
  return device;
}

const operations = {
  async load({module, threads, task, model, options, cancel}, emit, signal) {
    const log = (level, text) => {
      warned ||= level <= WARNING;
      emit({status: 'log', level, text});
    };
    const {device: wanted = 'auto', fallback = wanted === 'auto'} = options;
    const {device: chosen, gpu} = await chooseDevice(wanted, text => log(constants.TERN_LOG_INFO, text));
    if (typeof gpu === 'string' && !fallback) throw new TernError('NO_DEVICE', `device '${wanted}': ${gpu}`);
    const shared = WebAssembly.Module.imports(module).some(i => i.kind === 'memory');
    const memory = shared ? createSharedMemory() : undefined;
    const pool = shared ? await startThreads(module, memory, threads - 1) : [];
    engine = await Engine.create({
      module,
      memory,
      threads: pool,
      log,
      gpu,
    });
    const store = typeof model === 'string' ? await openStore(options.cache ?? 'cache-storage') : null;
    const files = await loadModel(engine, model, options, {store, signal, emit});
    signal.throwIfAborted();
    device = chosen;
    pipeline = await engine.openPipeline({
      task,
      ...files,
      device,
      fallback,
      profile: options.profile,
      numerics: options.numerics,
      contextLength: options.context_length,
      progress: (phase, done, total) => void emit({status: 'open', phase, done, total}),
      cancelled: cancelCheck(cancel),
    });
    return {info: engine.describe(pipeline), device, devices: await engine.devices(), threads: pool.length + 1};
  },

  run({members, streaming, tensor, cancel}, emit) {
    return engine.run(
      pipeline,
      {
        ...members,
        cancelled: cancelCheck(cancel),
        on_text: streaming ? (text, token) => void emit({text, token}) : undefined,
      },
      result => {
        const {timings} = result,
          device = currentDevice();
        if (tensor) return {...result.tensor, timings, device};
        const entries = Array.from({length: result.count}, (_, i) => ({
          text: result.text(i),
          tokens: result.tokens(i),
          finish_reason: result.finishReason(i),
        }));
        return {entries, json: result.json, timings, device};
      },
    );
  },

  encode: ({text, flags}) => engine.encode(pipeline, text, flags),
  decode: ({tokens, flags}) => engine.decode(pipeline, tokens, flags),
  chat: ({messages, prompt}) => engine.applyChatTemplate(pipeline, messages, prompt),
  memory: () => engine.memoryUse(),
  profile: () => engine.profile(pipeline),
};

async function perform(id, op, args, abort) {
  try {
    abort.signal.throwIfAborted();
    const result = await operations[op](args, event => postMessage({id, event}), abort.signal);
    postMessage({id, result}, result?.data ? [result.data.buffer] : []);
  } catch (error) {
    const status = error instanceof TernError ? error.status : abort.signal.aborted ? 'CANCELLED' : 'INTERNAL';
    postMessage({id, error: {status, message: error.message, stack: error.stack}});
  } finally {
    aborts.delete(id);
  }
}

let last = Promise.resolve();
globalThis.onmessage = ({data: {id, op, ...args}}) => {
  if (op === 'abort') return aborts.get(args.target)?.abort();
  const abort = new AbortController();
  aborts.set(id, abort);
  last = last.then(() => perform(id, op, args, abort));
};
