// The WebGPU device in Chromium (SwiftShader plays the adapter): the answers of the WebAssembly device and of the
// native build, streaming, cancellation, progress, caches; a device that is not there, and one that goes away.
import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {existsSync, readFileSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {after, test} from 'node:test';
import {launch} from './browser.mjs';
import {CACHE, GGUF, needFiles, ROOT, skip} from './node_models.mjs';
import {serve} from './serve.mjs';

needFiles();
const TERN = process.env.TERN ?? skip('TERN does not name the tern command');
if (!existsSync(TERN)) skip(`${TERN} is not built`);
const prompts = JSON.parse(readFileSync(join(ROOT, 'tests/models/golden/prompts.json'), 'utf8'));
const PROMPT = 'Once upon a time, in a small village at the edge of the forest, there lived';
const browser = await launch(),
  isolated = await serve(),
  plain = await serve({isolated: false});
after(async () => {
  await browser.close();
  (isolated.close(), plain.close());
});

const native = (...args) =>
  JSON.parse(execFileSync(TERN, ['run', ...args, '--json', '--threads', '1'], {maxBuffer: 1 << 26}));
const greedy = (model, n, ...args) =>
  native(
    'text-generation',
    '--model',
    model,
    '--numerics',
    'consistent',
    '--max-new-tokens',
    `${n}`,
    '--ignore-eos',
    ...args,
    PROMPT,
  );

for (const [dtype, server, threads] of [
  ['fp32', plain, 1],
  ['q8', isolated, 2],
])
  test(`embeddings of the ${dtype} folder equal those of wasm (${threads} thread${threads > 1 ? 's' : ''})`, async () => {
    const page = await browser.page(server.url);
    const got = await page.evaluate(
      async ({texts, dtype, threads}) => {
        const {pipeline} = await import('/dist/tern.js');
        const result = {};
        for (const device of ['wasm', 'webgpu']) {
          const pipe = await pipeline('feature-extraction', '/models/all-MiniLM-L6-v2', {
            dtype,
            device,
            threads,
            numerics: 'consistent',
          });
          const output = await pipe(texts, {pooling: 'mean', normalize: true}),
            again = await pipe(texts, {pooling: 'mean', normalize: true}),
            {segments} = await pipe.profile();
          result[device] = {
            data: Array.from(output.data),
            same: output.data.every((x, i) => x === again.data[i]),
            device: pipe.device,
            segments: segments.map(s => [s.device, s.steps]),
          };
          await pipe.dispose();
        }
        return result;
      },
      {texts: prompts.sentences.slice(0, 4), dtype, threads},
    );
    assert.deepEqual([got.wasm.device, got.webgpu.device], ['wasm', 'webgpu']);
    const worst = got.wasm.data.reduce((m, x, i) => Math.max(m, Math.abs(x - got.webgpu.data[i])), 0);
    console.log(
      `${dtype}: largest difference ${worst.toExponential(2)}; segments ${JSON.stringify(got.webgpu.segments)}`,
    );
    assert.equal(got.webgpu.data.length, 4 * 384);
    assert.ok(got.webgpu.same, 'a second run gives other bits');
    assert.ok(worst <= 1e-5);
    await page.close();
  });

/** In the page: loads SmolLM2 onto the GPU and records what progress says. */
const loadSmol = `async (options = {}) => {
  const {pipeline} = await import('/dist/tern.js');
  const events = [];
  const pipe = await pipeline('text-generation', '/models/SmolLM2-135M-Instruct-Q4_1.gguf',
                              {device: 'webgpu', numerics: 'consistent', progress_callback: e => events.push(e),
                               ...options});
  return {pipe, events};
}`;

test('64 greedy tokens equal the native build, text streams, the page stays responsive, runs are cancelled', async () => {
  const wanted = greedy(GGUF, 64),
    page = await browser.page(plain.url);
  const got = await page.evaluate(
    async ({loadSmol, PROMPT}) => {
      const {TextStreamer} = await import('/dist/tern.js');
      const {pipe, events} = await eval(loadSmol)();
      const pieces = [];
      const streamer = new TextStreamer(pipe.tokenizer, {
        skip_prompt: true,
        callback_function: text => pieces.push(text),
      });
      let ticks = 0;
      const timer = setInterval(() => ticks++, 10);
      const output = await pipe(PROMPT, {max_new_tokens: 64, ignore_eos: true, streamer, return_full_text: false});
      clearInterval(timer);
      const {tokens} = pipe.outputs[0],
        {timings} = pipe;
      const cancelled = async (ms, run) => {
        const controller = new AbortController();
        let at;
        setTimeout(() => ((at = performance.now()), controller.abort()), ms);
        try {
          await run(controller.signal);
          return 'ran to its end';
        } catch (error) {
          return `${error.name} after ${Math.round(performance.now() - at)}`;
        }
      };
      // Two texts of one length: of the same one again only the end would be evaluated.
      const long = 'The history of the lighthouse is long. '.repeat(12),
        another = 'Long is the history of the lighthouse. '.repeat(12);
      const inDecode = await cancelled(1000, signal =>
        pipe('One two three', {max_new_tokens: 999, ignore_eos: true, signal}),
      );
      await pipe(long, {max_new_tokens: 1, return_full_text: false});
      const wholePrefill = pipe.timings.prefill_ms;
      const inPrefill = await cancelled(500, signal => pipe(another, {max_new_tokens: 1, signal}));
      const after = await pipe(PROMPT, {max_new_tokens: 4, return_full_text: false});
      const ids = await pipe.tokenizer.encode('hello world');
      const {segments} = await pipe.profile();
      await pipe.dispose();
      return {
        output,
        pieces,
        tokens,
        timings,
        ticks,
        inDecode,
        inPrefill,
        wholePrefill,
        after,
        ids,
        segments,
        events,
        device: pipe.device,
      };
    },
    {loadSmol, PROMPT},
  );
  const rate = ((got.timings.n_new_tokens - 1) * 1e3) / got.timings.decode_ms,
    gpu = got.segments.find(s => s.device === 'webgpu');
  console.log(
    `${rate.toFixed(1)} tokens/s; a token: ${gpu.dispatches} dispatches, ${gpu.submits} submits, ` +
      `${got.segments.length} segments; cancelled: in decode ${got.inDecode} ms, in prefill ${got.inPrefill} ms ` +
      `(of ${Math.round(got.wholePrefill)} ms)`,
  );
  assert.equal(got.device, 'webgpu');
  assert.deepEqual(got.tokens, wanted.tokens);
  assert.equal(got.output[0].generated_text, wanted.text);
  assert.equal(got.pieces.join(''), wanted.text);
  assert.ok(got.pieces.length > 30, `${got.pieces.length} pieces`);
  assert.ok(got.ticks >= 5, `${got.ticks} ticks of the page's timer during a run`);
  // Two pieces of work and a look at the flag. In decoding a piece is a part of a token's work; in prefill it may be one
  // product of all rows, which takes a software device a second: a small part of the whole, measured beside it.
  for (const [what, bound] of [
    [got.inDecode, Math.max(500, 1e3 / rate)],
    [got.inPrefill, got.wholePrefill / 10],
  ]) {
    assert.match(what, /^AbortError after \d+$/);
    assert.ok(Number(what.split(' ').at(-1)) < bound, `${what} ms; the bound is ${Math.round(bound)} ms`);
  }
  assert.ok(wanted.text.startsWith(got.after[0].generated_text));
  assert.ok(got.events.some(e => e.status === 'open'));
  await page.close();
});

test('a reload needs no network', async () => {
  const load = async () => {
    const page = await browser.page(isolated.url);
    const got = await page.evaluate(async loadSmol => {
      const {pipe, events} = await eval(loadSmol)({context_length: 128});
      const output = await pipe('The capital of France is', {max_new_tokens: 2, return_full_text: false});
      await pipe.dispose();
      return {events, text: output[0].generated_text};
    }, loadSmol);
    await page.close();
    const totals = got.events.filter(e => e.status === 'progress_total');
    assert.equal(totals.at(-1).loaded, statSync(GGUF).size);
    return got;
  };
  const first = await load();
  isolated.cut = /^\/models\//;
  isolated.requests.length = 0;
  const second = await load();
  isolated.cut = null;
  assert.match(first.text, /Paris/);
  assert.equal(second.text, first.text);
  assert.deepEqual(
    isolated.requests.filter(r => r.startsWith('/models/')),
    [],
  );
});

test('tokens of an ONNX folder equal the native build, on both devices', async t => {
  const name = 'SmolLM2-135M-Instruct-ONNX',
    n = process.env.TERN_FULL === '1' ? 64 : 12;
  if (!existsSync(join(CACHE, name, 'onnx/model_q4.onnx'))) return t.skip(`${name} is missing`);
  const wanted = greedy(join(CACHE, name), n, '--dtype', 'q4'),
    page = await browser.page(isolated.url);
  const tokens = await page.evaluate(
    async ({PROMPT, name, n}) => {
      const {pipeline} = await import('/dist/tern.js');
      const tokens = {};
      for (const device of ['wasm', 'webgpu']) {
        const pipe = await pipeline('text-generation', `/models/${name}`, {
          dtype: 'q4',
          device,
          numerics: 'consistent',
          context_length: 256,
          cache: 'none',
        });
        await pipe(PROMPT, {max_new_tokens: n, ignore_eos: true});
        await pipe.dispose();
        tokens[device] = pipe.outputs[0].tokens;
      }
      return tokens;
    },
    {PROMPT, name, n},
  );
  console.log(`ONNX q4, ${n} tokens on wasm and webgpu`);
  assert.deepEqual(tokens.wasm, wanted.tokens);
  assert.deepEqual(tokens.webgpu, wanted.tokens);
  await page.close();
});

test('parameters in uniform buffers give the same bits', async () => {
  const page = await browser.page(plain.url);
  const got = await page.evaluate(async () => {
    const {folderFiles, openEngine} = await import('/tests/engine_page.js');
    const files = folderFiles('all-MiniLM-L6-v2', 'onnx/model_quantized.onnx'),
      result = {};
    for (const immediates of [true, false]) {
      const {engine, gpu, pipe} = await openEngine(files, {
        gpu: {immediates},
        task: 'feature-extraction',
        path: '/model',
        dtype: 'q8',
        device: 'webgpu',
      });
      result[gpu.immediates ? 'immediates' : 'uniforms'] = await engine.run(
        pipe,
        {texts: ['The ferry leaves at nine.'], pooling: 2, normalize: 1},
        r => Array.from(r.tensor.data),
      );
      engine.closePipeline(pipe);
      gpu.destroy();
    }
    return result;
  });
  assert.equal(got.uniforms.length, 384);
  if (got.immediates) assert.deepEqual(got.uniforms, got.immediates);
  await page.close();
});

for (const fallback of [false, true])
  test(`a device that goes away in mid-run: ${fallback ? 'the CPU goes on' : 'an error that says so'}`, async () => {
    const wanted = fallback && greedy(GGUF, 12),
      page = await browser.page(plain.url);
    const got = await page.evaluate(
      async ({PROMPT, fallback}) => {
        const {openEngine} = await import('/tests/engine_page.js');
        const {engine, gpu, logs, pipe} = await openEngine(
          {'model.gguf': '/models/SmolLM2-135M-Instruct-Q4_1.gguf'},
          {
            task: 'text-generation',
            path: '/model/model.gguf',
            device: 'webgpu',
            numerics: 'consistent',
            contextLength: 128,
            fallback,
          },
        );
        let n = 0;
        const members = {
          texts: [PROMPT],
          max_new_tokens: 12,
          ignore_eos: 1,
          on_text: () => {
            if (++n === 4) gpu.destroy();
            return false;
          },
        };
        const run = () => engine.run(pipe, members, r => r.tokens(0)).catch(e => `${e.status}: ${e.message}`);
        const first = await run(),
          second = await run(),
          device = engine.profile(pipe)?.device;
        engine.closePipeline(pipe);
        return {first, second, logs, device};
      },
      {PROMPT, fallback},
    );
    if (fallback) {
      assert.deepEqual(got.first, wanted.tokens);
      assert.deepEqual(got.second, wanted.tokens);
      assert.equal(got.device, 'wasm');
      assert.match(
        got.logs.join('\n'),
        /device 'webgpu': .*the device was lost \(destroyed\).*the CPU computes instead/,
      );
    } else
      for (const what of [got.first, got.second])
        assert.match(`${what}`, /^DEVICE_LOST: .*the device was lost \(destroyed\).*open the pipeline again/);
    await page.close();
  });

test('where there is no adapter: an error with the reason, or WebAssembly where the caller leaves the choice', async () => {
  const without = await launch({webgpu: false});
  const page = await without.page(plain.url);
  const got = await page.evaluate(async () => {
    const {pipeline} = await import('/dist/tern.js');
    const open = async options => {
      const logs = [];
      try {
        const pipe = await pipeline('feature-extraction', '/models/all-MiniLM-L6-v2', {
          dtype: 'q8',
          cache: 'none',
          progress_callback: e => e.status === 'log' && logs.push(e.text),
          ...options,
        });
        const {dims} = await pipe('a cat', {pooling: 'mean'});
        await pipe.dispose();
        return {device: pipe.device, dims, logs};
      } catch (error) {
        return {error: `${error.status}: ${error.message}`};
      }
    };
    return {
      webgpu: await open({device: 'webgpu'}),
      allowed: await open({device: 'webgpu', fallback: true}),
      auto: await open({}),
    };
  });
  await without.close();
  assert.match(got.webgpu.error, /^NO_DEVICE: device 'webgpu': .*(adapter|navigator\.gpu).*device: 'wasm'/);
  assert.deepEqual([got.allowed.device, got.auto.device, got.auto.dims], ['wasm', 'wasm', [1, 384]]);
  assert.match(got.allowed.logs.join('\n'), /device 'webgpu': .*the CPU computes instead/);
  assert.match(got.auto.logs.join('\n'), /device 'wasm': .*(adapter|navigator\.gpu)/);
});

test("'auto' takes WebAssembly rather than an adapter that is the CPU, and says so", async () => {
  const page = await browser.page(plain.url);
  const got = await page.evaluate(async () => {
    const {pipeline} = await import('/dist/tern.js');
    const logs = [];
    const pipe = await pipeline('feature-extraction', '/models/all-MiniLM-L6-v2', {
      dtype: 'q8',
      progress_callback: e => e.status === 'log' && logs.push(e.text),
    });
    await pipe.dispose();
    return {device: pipe.device, logs};
  });
  assert.equal(got.device, 'wasm');
  assert.match(got.logs.join('\n'), /device 'wasm': the only WebGPU adapter is '.*', which computes on the CPU/);
  await page.close();
});
