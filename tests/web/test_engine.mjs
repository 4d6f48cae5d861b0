// The engine of the web binding under node, without a browser: tasks, tokenizer, callbacks, cancellation,
// errors, memory.
import assert from 'node:assert/strict';

import {test} from 'node:test';
import {addFolder, addGguf, createEngine, MINILM, needFiles} from './node_models.mjs';

needFiles();

test('feature-extraction gives unit vectors, the ones that the text alone gives', async () => {
  const engine = await createEngine();
  addFolder(engine, MINILM, 'onnx/model.onnx');
  const pipe = await engine.openPipeline({task: 'feature-extraction', path: '/model', dtype: 'fp32'});
  const embed = list => engine.run(pipe, {texts: list, pooling: 2, normalize: 1}, r => r.tensor);
  const both = await embed(['a cat', 'quantum field theory is hard']),
    one = await embed(['a cat']);
  assert.deepEqual(both.dims, [2, 384]);
  const dot = (a, b) => a.reduce((n, x, i) => n + x * b[i], 0);
  assert.ok(Math.abs(dot(one.data, one.data) - 1) < 1e-6);
  assert.ok(Math.abs(dot(one.data, both.data.subarray(0, 384)) - 1) < 1e-6);
  assert.ok(dot(one.data, both.data.subarray(384)) < 0.5);
  assert.deepEqual(engine.encode(pipe, 'hello world'), [101, 7592, 2088, 102]);
  assert.equal(engine.decode(pipe, [7592, 2088]), 'hello world');
  engine.closePipeline(pipe);
  const inUse = engine.memoryUse().live;
  engine.removeFiles();
  assert.ok(inUse < 1 << 20, `${inUse} bytes stay after closing`);
});

test('text-generation streams what it returns and stops when told to', async () => {
  const engine = await createEngine();
  addGguf(engine);
  const phases = new Set();
  const pipe = await engine.openPipeline({
    task: 'text-generation',
    path: '/model.gguf',
    contextLength: 256,
    progress: phase => void phases.add(phase),
  });
  assert.ok(phases.has('map') && phases.has('graph'), [...phases].join());
  const pieces = [];
  const run = (members, read) => engine.run(pipe, {texts: ['The capital of France is'], ...members}, read);
  const result = await run({max_new_tokens: 8, on_text: text => void pieces.push(text)}, r => ({
    text: r.text(0),
    tokens: r.tokens(0),
    reason: r.finishReason(0),
    json: r.json,
    timings: r.timings,
  }));
  assert.equal(pieces.join(''), result.text);
  assert.match(result.text, /Paris/);
  assert.equal(result.tokens.length, 8);
  assert.equal(result.reason, 'length');
  assert.deepEqual(result.json, [{generated_text: result.text}]);
  assert.equal(result.timings.n_new_tokens, 8);
  assert.equal(await run({max_new_tokens: 8, on_text: () => true}, r => r.finishReason(0)), 'cancelled');
  const begin = performance.now();
  await assert.rejects(() => run({max_new_tokens: 200, cancelled: () => performance.now() - begin > 100}), {
    status: 'CANCELLED',
  });
  const late = performance.now() - begin - 100;
  assert.ok(late < 2000, `${late} ms late`); // the bound on an idle machine is 20 ms; this one may be busy
});

test('what is wrong is said with a status and a sentence', async () => {
  const engine = await createEngine();
  addGguf(engine);
  const open = options => engine.openPipeline({task: 'text-generation', path: '/model.gguf', ...options});
  await assert.rejects(() => open({device: 'webgpu'}), {
    status: 'NO_DEVICE',
    message: /WebGPU: no WebGPU device was given/,
  });
  await assert.rejects(() => open({path: '/other.gguf'}), {status: 'NOT_FOUND', message: /other\.gguf/});
  await assert.rejects(() => open({task: 'nonsense'}), {status: 'UNSUPPORTED', message: /nonsense/});
  await assert.rejects(() => open({numerics: 'odd'}), {status: 'INVALID_ARGUMENT'});
  const pipe = await open({});
  await assert.rejects(() => engine.run(pipe, {texts: ['a'], pooling: 2}), {
    status: 'INVALID_ARGUMENT',
    message: /pooling/,
  });
  await assert.rejects(() => engine.run(pipe, {texts: ['a\0b']}), {status: 'INVALID_ARGUMENT', message: /NUL/});
  assert.throws(() => engine.addFile('/huge', 4.2e9), {status: 'OUT_OF_MEMORY', message: /4200000000/});
  assert.equal(await engine.run(pipe, {texts: ['a'], max_new_tokens: 1}, r => r.count), 1); // still works
});
