// The web binding in Chromium: both builds against the native command, workers, streaming, cancellation,
// progress, caches.
import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import {existsSync, readFileSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {after, test} from 'node:test';
import {gzipSync} from 'node:zlib';
import {launch} from './browser.mjs';
import {DIST, GGUF, MINILM, needFiles, ROOT, skip} from './node_models.mjs';
import {serve} from './serve.mjs';

needFiles();
const TERN = process.env.TERN ?? skip('TERN does not name the tern command');
if (!existsSync(TERN)) skip(`${TERN} is not built`);
const golden = name => JSON.parse(readFileSync(join(ROOT, 'tests/models/golden', name), 'utf8'));
const prompts = golden('prompts.json'),
  minilm = golden('minilm.json');
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
const vectorOf = base64 => new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer);
const cosine = (a, b) => {
  let ab = 0,
    aa = 0,
    bb = 0;
  for (let i = 0; i < a.length; i++) ((ab += a[i] * b[i]), (aa += a[i] * a[i]), (bb += b[i] * b[i]));
  return ab / Math.sqrt(aa * bb);
};

test('the module is small', () => {
  for (const file of ['tern.wasm', 'tern-threads.wasm']) {
    const bytes = readFileSync(join(DIST, file)),
      gzip = gzipSync(bytes, {level: 9}).length;
    console.log(`${file}: ${bytes.length} bytes, gzip -9 ${gzip}`);
    assert.ok(gzip <= 1.5e6);
  }
});

// Texts of the golden file, and some more that only the native build judges.
const texts = prompts.sentences.slice(0, 12);
const nativeVectors = native(
  'feature-extraction',
  '--model',
  MINILM,
  '--dtype',
  'fp32',
  '--pooling',
  'mean',
  '--normalize',
  ...texts,
);

for (const [server, threads] of [
  [plain, 1],
  [isolated, 1],
  [isolated, 2],
]) {
  const where = `${server === isolated ? 'isolated' : 'plain'} page, ${threads} thread${threads > 1 ? 's' : ''}`;

  test(`embeddings equal the native build's (${where})`, async () => {
    const page = await browser.page(server.url);
    const got = await page.evaluate(
      async ({texts, threads}) => {
        const {pipeline} = await import('/dist/tern.js');
        const pipe = await pipeline('feature-extraction', '/models/all-MiniLM-L6-v2', {
          dtype: 'fp32',
          device: 'wasm',
          threads,
        });
        const output = await pipe(texts, {pooling: 'mean', normalize: true});
        const tokens = await pipe('two words');
        const result = {
          list: output.tolist(),
          dims: output.dims,
          type: output.type,
          size: output.size,
          tokens: tokens.dims,
          threads: pipe.threads,
          device: pipe.device,
          isolated: crossOriginIsolated,
        };
        await pipe.dispose();
        return result;
      },
      {texts, threads},
    );
    assert.deepEqual([got.dims, got.type, got.size], [[texts.length, 384], 'float32', 384 * texts.length]);
    assert.deepEqual(got.tokens, [1, 4, 384]);
    assert.deepEqual([got.threads, got.device, got.isolated], [threads, 'wasm', server === isolated]);
    let worst = 0,
      least = 1;
    got.list.forEach((row, i) => {
      row.forEach((x, j) => {
        worst = Math.max(worst, Math.abs(x - nativeVectors[i][j]));
      });
      least = Math.min(least, cosine(row, vectorOf(minilm.embeddings_f32_base64[i])));
    });
    console.log(
      `${where}: largest difference to native ${worst.toExponential(2)}, least cosine to the reference ${least}`,
    );
    assert.ok(worst <= 1e-5);
    assert.ok(least > 0.999999);
    await page.close();
  });
}

const nativeText = native(
  'text-generation',
  '--model',
  GGUF,
  '--numerics',
  'consistent',
  '--max-new-tokens',
  '64',
  '--ignore-eos',
  PROMPT,
);

for (const [server, threads] of [
  [plain, 1],
  [isolated, 2],
])
  test(`64 greedy tokens equal the native build's (${server === isolated ? 'isolated' : 'plain'} page, ${threads} thread)`, async () => {
    const page = await browser.page(server.url);
    const got = await page.evaluate(
      async ({PROMPT, threads}) => {
        const {pipeline, TextStreamer} = await import('/dist/tern.js');
        const pipe = await pipeline('text-generation', '/models/SmolLM2-135M-Instruct-Q4_1.gguf', {
          numerics: 'consistent',
          threads,
        });
        const pieces = [];
        const streamer = new TextStreamer(pipe.tokenizer, {
          skip_prompt: true,
          callback_function: text => pieces.push(text),
        });
        const output = await pipe(PROMPT, {max_new_tokens: 64, ignore_eos: true, streamer, return_full_text: false});
        return {output, pieces, tokens: pipe.outputs[0].tokens, timings: pipe.timings};
      },
      {PROMPT, threads},
    );
    assert.deepEqual(got.tokens, nativeText.tokens);
    assert.equal(got.output[0].generated_text, nativeText.text);
    assert.equal(got.pieces.join(''), nativeText.text);
    assert.ok(got.pieces.length > 30, `${got.pieces.length} pieces`);
    console.log(
      `consistent, ${threads} thread: ${((got.timings.n_new_tokens * 1e3) / got.timings.decode_ms).toFixed(1)} tokens/s`,
    );
    await page.close();
  });

/** In the page: loads SmolLM2 and records what progress says. */
const loadSmol = `async (options = {}) => {
  const {pipeline} = await import('/dist/tern.js');
  const events = [];
  const pipe = await pipeline('text-generation', '/models/SmolLM2-135M-Instruct-Q4_1.gguf',
                              {progress_callback: e => events.push(e), ...options});
  return {pipe, events};
}`;

for (const server of [plain, isolated])
  test(`the page stays responsive, chat has the shape of Transformers.js, runs can be cancelled (${server === isolated ? 'isolated' : 'plain'})`, async () => {
    const page = await browser.page(server.url);
    const got = await page.evaluate(async loadSmol => {
      const {pipe} = await eval(loadSmol)();
      let ticks = 0;
      const timer = setInterval(() => ticks++, 10);
      const chat = await pipe([{role: 'user', content: 'Say hello.'}], {max_new_tokens: 12});
      clearInterval(timer);
      const cancelled = async (signal, promise) => {
        try {
          await promise;
          return 'ran to its end';
        } catch (error) {
          return error.name + ' after ' + Math.round(performance.now() - signal.at);
        }
      };
      const abortIn = ms => {
        const controller = new AbortController();
        setTimeout(() => {
          ((controller.signal.at = performance.now()), controller.abort());
        }, ms);
        return controller.signal;
      };
      const decode = abortIn(300),
        prefill = abortIn(100);
      const long = 'The history of the lighthouse is long. '.repeat(60);
      const inDecode = await cancelled(
        decode,
        pipe('One two three', {max_new_tokens: 2000, ignore_eos: true, signal: decode}),
      );
      const inPrefill = await cancelled(prefill, pipe(long, {max_new_tokens: 1, signal: prefill}));
      const after = await pipe('The capital of France is', {max_new_tokens: 4, return_full_text: false});
      const repeat = 'red, green, blue, '.repeat(4);
      const drafts = {};
      for (const n of [0, 10]) {
        await pipe(repeat, {max_new_tokens: 24, prompt_lookup_num_tokens: n});
        drafts[n] = {tokens: pipe.outputs[0].tokens, timings: pipe.timings};
      }
      const errors = {};
      for (const [name, run] of Object.entries({
        lookup: () => pipe(['a', 'b'], {prompt_lookup_num_tokens: 4}),
        option: () => pipe('a', {num_beams: 4}),
        pooling: () => pipe('a', {max_new_tokens: -1}),
      }))
        await run().catch(error => {
          errors[name] = error.status + ': ' + error.message;
        });
      const ids = await pipe.tokenizer.encode('hello world'),
        text = await pipe.tokenizer.decode(ids);
      const memory = await pipe.memory();
      await pipe.dispose();
      await pipe('a').catch(error => {
        errors.disposed = error.status;
      });
      return {ticks, chat, inDecode, inPrefill, after, drafts, errors, text, memory};
    }, loadSmol);
    assert.ok(got.ticks >= 5, `${got.ticks} ticks of the page's timer during a run`);
    assert.equal(got.chat[0].generated_text.length, 2);
    assert.equal(got.chat[0].generated_text[1].role, 'assistant');
    console.log(
      `cancelled: in decode ${got.inDecode} ms, in prefill ${got.inPrefill} ms; memory ${JSON.stringify(got.memory)}`,
    );
    for (const what of [got.inDecode, got.inPrefill]) {
      assert.match(what, /^AbortError after \d+$/);
      assert.ok(Number(what.split(' ').at(-1)) < 1000, what); // 20 to 50 ms where nothing else computes
    }
    assert.match(got.after[0].generated_text, /Paris/);
    assert.deepEqual(got.drafts[10].tokens, got.drafts[0].tokens);
    assert.equal(got.drafts[0].timings.n_drafted_tokens, 0);
    const {n_drafted_tokens, n_accepted_tokens} = got.drafts[10].timings;
    assert.ok(n_accepted_tokens > 3 && n_accepted_tokens <= n_drafted_tokens, JSON.stringify(got.drafts[10].timings));
    assert.match(got.errors.lookup, /^UNSUPPORTED: prompt_lookup_num_tokens .* one prompt/);
    assert.match(got.errors.option, /^UNSUPPORTED: option 'num_beams'/);
    assert.match(got.errors.pooling, /^INVALID_ARGUMENT: max_new_tokens/);
    assert.equal(got.text, 'hello world');
    assert.equal(got.errors.disposed, 'INVALID_STATE');
    // The file's bytes once, what the library holds (packed weights, KV cache), the stacks, and little else.
    assert.ok(got.memory.wasm < statSync(GGUF).size + got.memory.live + 64e6, JSON.stringify(got.memory));
    await page.close();
  });

for (const cache of ['cache-storage', 'opfs'])
  test(`progress tells the truth, and a reload needs no network (${cache})`, async () => {
    let page = await browser.page(isolated.url);
    const load = options =>
      page.evaluate(
        async ({loadSmol, cache}) => {
          const {clearCache} = await import('/dist/tern.js');
          if (cache.clear) await clearCache('', cache.kind);
          const {pipe, events} = await eval(loadSmol)({cache: cache.kind});
          const output = await pipe('The capital of France is', {max_new_tokens: 3, return_full_text: false});
          await pipe.dispose();
          return {events, text: output[0].generated_text};
        },
        {loadSmol, cache: options},
      );
    const check = events => {
      const totals = events.filter(e => e.status === 'progress_total'),
        size = statSync(GGUF).size;
      assert.ok(totals.length > 10);
      assert.ok(
        totals.every(e => e.total === size),
        'the total is known from the first event on',
      );
      totals.reduce((before, e) => (assert.ok(e.loaded >= before, 'progress goes backwards'), e.loaded), 0);
      assert.equal(totals[0].loaded, 0);
      assert.equal(totals.at(-1).loaded, size);
      assert.equal(events.at(-1).status, 'ready');
    };
    isolated.breakAt = 3e7; // the connection breaks once, and is taken up
    const first = await load({kind: cache, clear: true});
    check(first.events);
    assert.equal(first.events.find(e => e.status === 'initiate').cached, false);
    assert.equal(isolated.breakAt, 0);
    await page.close();

    isolated.cut = /^\/models\//;
    isolated.requests.length = 0;
    page = await browser.page(isolated.url);
    const second = await load({kind: cache});
    assert.equal(second.text, first.text);
    check(second.events);
    assert.equal(second.events.find(e => e.status === 'initiate').cached, true);
    assert.deepEqual(
      isolated.requests.filter(r => r.startsWith('/models/')),
      [],
    );
    isolated.cut = null;
    await page.close();
  });

test('a folder, too, is opened without network the second time; a failed download leaves nothing behind', async () => {
  const page = await browser.page(isolated.url);
  const load = () =>
    page.evaluate(async () => {
      const {pipeline} = await import('/dist/tern.js');
      try {
        const pipe = await pipeline('feature-extraction', '/models/all-MiniLM-L6-v2', {dtype: 'q8'});
        const output = await pipe('a cat', {pooling: 'mean', normalize: true});
        await pipe.dispose();
        return Array.from(output.data);
      } catch (error) {
        return error.status + ': ' + error.message;
      }
    });
  isolated.cut = /model_quantized/;
  assert.match(await load(), /^IO: .*model_quantized\.onnx cannot be fetched/);
  isolated.cut = null;
  const first = await load();
  assert.equal(first.length, 384, first);
  isolated.cut = /^\/models\//;
  isolated.requests.length = 0;
  assert.deepEqual(await load(), first);
  assert.deepEqual(
    isolated.requests.filter(r => r.startsWith('/models/')),
    [],
  );
  isolated.cut = null;
  await page.close();
});

test('files of the page: File, array of Files, file system handles', async () => {
  const page = await browser.page(isolated.url);
  const got = await page.evaluate(async () => {
    const {pipeline} = await import('/dist/tern.js');
    const blob = async path => (await fetch('/models/' + path)).blob();
    const folder = 'all-MiniLM-L6-v2',
      names = ['config.json', 'tokenizer.json', 'onnx/model_quantized.onnx'];
    const files = await Promise.all(
      names.map(async name => {
        const file = new File([await blob(`${folder}/${name}`)], name.split('/').at(-1));
        Object.defineProperty(file, 'webkitRelativePath', {value: `${folder}/${name}`});
        return file;
      }),
    );
    // A File's relative path is not kept by postMessage unless it comes from a folder input: names stand in here.
    const named = await Promise.all(names.map(async name => new File([await blob(`${folder}/${name}`)], name)));
    const root = await navigator.storage.getDirectory(),
      dir = await root.getDirectoryHandle('own-model', {create: true});
    const onnx = await dir.getDirectoryHandle('onnx', {create: true});
    for (const [i, name] of names.entries()) {
      const handle = await (name.includes('/') ? onnx : dir).getFileHandle(name.split('/').at(-1), {create: true});
      const writable = await handle.createWritable();
      await writable.write(files[i]);
      await writable.close();
    }
    const vectors = [];
    for (const model of [named, dir]) {
      const pipe = await pipeline('feature-extraction', model, {dtype: 'q8'});
      vectors.push(Array.from((await pipe('a cat', {pooling: 'mean', normalize: true})).data));
      await pipe.dispose();
    }
    const gguf = new File([await blob('SmolLM2-135M-Instruct-Q4_1.gguf')], 'smol.gguf');
    const pipe = await pipeline('text-generation', gguf, {context_length: 128});
    const [{generated_text}] = await pipe('The capital of France is', {max_new_tokens: 3});
    await pipe.dispose();
    return {vectors, generated_text};
  });
  assert.deepEqual(got.vectors[0], got.vectors[1]);
  assert.match(got.generated_text, /^The capital of France is Paris/);
  await page.close();
});

test('loading can be cancelled; what cannot be is said', async () => {
  const page = await browser.page(plain.url);
  const got = await page.evaluate(async () => {
    const {pipeline} = await import('/dist/tern.js');
    const gguf = '/models/SmolLM2-135M-Instruct-Q4_1.gguf',
      controller = new AbortController();
    const attempt = (...args) =>
      pipeline(...args).then(
        () => 'opened',
        e => `${e.status ?? e.name}: ${e.message}`,
      );
    const load = attempt('text-generation', gguf, {
      cache: 'none',
      signal: controller.signal,
      progress_callback: e => {
        if (e.status === 'progress_total' && e.loaded > 1e6) controller.abort();
      },
    });
    return {
      load: await load,
      device: await attempt('text-generation', gguf, {device: 'webnn'}),
      task: await attempt('summarization', gguf),
      threads: await attempt('text-generation', gguf, {threads: 4}),
      missing: await attempt('feature-extraction', '/models/no-such-model'),
      dtype: await attempt('feature-extraction', '/models/all-MiniLM-L6-v2', {dtype: 'q3'}),
      option: await attempt('feature-extraction', '/models/all-MiniLM-L6-v2', {revision: 'main'}),
    };
  });
  assert.match(got.load, /^(20|AbortError)/);
  assert.match(got.device, /^NO_DEVICE: no device 'webnn' here; this build has: wasm, webgpu/);
  assert.match(got.task, /^UNSUPPORTED: no task 'summarization'.*text-generation/);
  assert.match(got.threads, /^UNSUPPORTED: .*Cross-Origin-Opener-Policy/);
  assert.match(got.missing, /^NOT_FOUND: .*no-such-model.*tokenizer\.json/);
  assert.match(got.dtype, /^INVALID_ARGUMENT: dtype 'q3'/);
  assert.match(got.option, /^UNSUPPORTED: option 'revision'/);
  await page.close();
});
