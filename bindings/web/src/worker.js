// A pipeline's worker: downloads, memory and all computing happen here. Speaks with tern.js: {id, op, ...} in,
// {id, result | error | event} out, one operation at a time.
import {Engine, TernError, createSharedMemory} from './engine.js';
import {loadModel} from './source.js';
import {openStore} from './store.js';

let engine, pipeline;
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

const operations = {
  async load({module, threads, task, model, options, cancel}, emit, signal) {
    const shared = WebAssembly.Module.imports(module).some(i => i.kind === 'memory');
    const memory = shared ? createSharedMemory() : undefined;
    const pool = shared ? await startThreads(module, memory, threads - 1) : [];
    engine = await Engine.create({
      module,
      memory,
      threads: pool,
      log: (level, text) => emit({status: 'log', level, text}),
    });
    const store = typeof model === 'string' ? await openStore(options.cache ?? 'cache-storage') : null;
    const files = await loadModel(engine, model, options, {store, signal, emit});
    signal.throwIfAborted();
    pipeline = engine.openPipeline({
      task,
      ...files,
      device: options.device,
      numerics: options.numerics,
      contextLength: options.context_length,
      progress: (phase, done, total) => void emit({status: 'open', phase, done, total}),
      cancelled: cancelCheck(cancel),
    });
    return {info: engine.describe(pipeline), devices: engine.devices(), threads: pool.length + 1};
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
        if (tensor) return {...result.tensor, timings: result.timings};
        const entries = Array.from({length: result.count}, (_, i) => ({
          text: result.text(i),
          tokens: result.tokens(i),
          finish_reason: result.finishReason(i),
        }));
        return {entries, json: result.json, timings: result.timings};
      },
    );
  },

  encode: ({text, flags}) => engine.encode(pipeline, text, flags),
  decode: ({tokens, flags}) => engine.decode(pipeline, tokens, flags),
  chat: ({messages, prompt}) => engine.applyChatTemplate(pipeline, messages, prompt),
  memory: () => engine.memoryUse(),
};

globalThis.onmessage = async ({data: {id, op, ...args}}) => {
  if (op === 'abort') return aborts.get(args.target)?.abort();
  const abort = new AbortController();
  aborts.set(id, abort);
  try {
    const result = await operations[op](args, event => postMessage({id, event}), abort.signal);
    postMessage({id, result}, result?.data ? [result.data.buffer] : []);
  } catch (error) {
    const status = error instanceof TernError ? error.status : abort.signal.aborted ? 'CANCELLED' : 'INTERNAL';
    postMessage({id, error: {status, message: error.message, stack: error.stack}});
  } finally {
    aborts.delete(id);
  }
};
