// The sample: a chat, a semantic search, and a comparison of this browser's devices. All it knows of tern is tern.js.
import {pipeline} from '../../bindings/web/dist/tern.js';

const $ = id => document.getElementById(id);
const ms = t => (t < 100 ? `${t.toFixed(1)} ms` : `${Math.round(t)} ms`);
const mb = n => `${(n / 1e6).toFixed(1)} MB`;
const rate = t => (t.decode_ms ? ((t.n_new_tokens - 1) * 1e3) / t.decode_ms : 0);

const TEXTS = [
  'The ferry to the island leaves at nine.',
  'Knead the dough until it is smooth.',
  'Her lungs burned on the last hill of the race.',
  'The council voted against the new car park.',
  'Rust is eating the bridge’s cables.',
  'My grandmother grew tomatoes on the roof.',
  'The telescope saw a galaxy older than expected.',
  'He tuned the cello before the rehearsal.',
];
const LONG = 'The lighthouse keeper wrote down the weather every evening, and the ships that passed. '.repeat(6);

const MEASURE_MS = 3000;

const most = crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency) : 1;
for (let n = most; n >= 1; n--) $('threads').add(new Option(n, n));
$('isolation').textContent = crossOriginIsolated ? '' : 'one thread: this page is not cross-origin isolated';
$('texts').value = TEXTS.join('\n');

const settings = () => ({device: $('device').value, threads: Number($('threads').value)});

/** Opens a pipeline and shows how far it is. */
async function open(section, task, model, options) {
  const box = section.querySelector('.progress'),
    [bar, label] = box.children;
  box.hidden = bar.hidden = false;
  bar.value = 0;
  const begin = performance.now();
  let cached = true,
    note = '';
  try {
    const pipe = await pipeline(task, model, {
      ...options,
      progress_callback(p) {
        if (p.status === 'initiate') cached &&= p.cached;
        if (p.status === 'progress_total') {
          bar.value = p.progress;
          label.textContent = `${mb(p.loaded)} of ${mb(p.total)}${cached ? ', kept from before' : ''}`;
        }
        if (p.status === 'open') label.textContent = `opening: ${p.phase}`;
        if (p.status === 'log') note = ` (${p.text})`; // why another device than the wanted one
      },
    });
    bar.hidden = true;
    label.textContent =
      `${mb(pipe.info.weight_bytes)} of weights on ${pipe.device}, ${pipe.threads} thread${pipe.threads > 1 ? 's' : ''}, ` +
      `open after ${ms(performance.now() - begin)}${note}`;
    return pipe;
  } catch (error) {
    label.textContent = error.message;
    throw error;
  }
}

/** A button that opens, and opens anew with other settings; the old pipeline's memory is given back first. */
function opener(section, task, form, options = {}) {
  const state = {pipe: null};
  const button = section.querySelector('.model button'),
    input = section.querySelector('.model input');
  button.onclick = async () => {
    button.disabled = true;
    for (const element of form.elements) element.disabled = true;
    await state.pipe?.dispose();
    state.pipe = null;
    try {
      state.pipe = await open(section, task, new URL(input.value, location.href).href, {...settings(), ...options});
      for (const element of form.elements) element.disabled = false;
      form.elements[0].focus();
    } catch (error) {
      console.error(error);
    } finally {
      button.disabled = false;
    }
  };
  return state;
}

// ---- chat ----

const chat = opener($('chat'), 'text-generation', $('ask'));
const messages = [];
let running = null;

function show(role, text) {
  const item = document.createElement('li');
  item.className = role;
  item.textContent = text;
  $('messages').append(item);
  item.scrollIntoView({block: 'nearest'});
  return item;
}

$('ask').onsubmit = async event => {
  event.preventDefault();
  if (running) return running.abort();
  const question = $('question').value.trim(),
    send = $('ask').elements[1];
  if (!question) return;
  $('question').value = '';
  messages.push({role: 'user', content: question});
  show('user', question);
  const answer = show('assistant', '…');
  let text = '';
  running = new AbortController();
  send.textContent = 'Stop';
  try {
    await chat.pipe(messages, {
      max_new_tokens: 200,
      signal: running.signal,
      on_text(piece) {
        text += piece;
        answer.textContent = text;
        answer.scrollIntoView({block: 'nearest'});
      },
    });
    const t = chat.pipe.timings;
    $('chat-figures').textContent =
      `first token after ${ms(t.first_token_ms)} (${t.n_prompt_tokens} tokens read, ${t.n_reused_tokens} of them ` +
      `known), then ${rate(t).toFixed(1)} tokens/s`;
  } catch (error) {
    if (error.name !== 'AbortError') ((answer.className = 'error'), (text ||= error.message));
  }
  answer.textContent = text || '(stopped)';
  messages.push({role: 'assistant', content: text});
  running = null;
  send.textContent = 'Send';
};

// ---- search ----

const search = opener($('search'), 'feature-extraction', $('find'), {dtype: 'q8'});
const EMBEDDING = {pooling: 'mean', normalize: true};

$('find').onsubmit = async event => {
  event.preventDefault();
  const texts = $('texts')
      .value.split('\n')
      .map(t => t.trim())
      .filter(Boolean),
    query = $('query').value.trim();
  if (!query || !texts.length) return;
  const begin = performance.now();
  const [wanted, ...rows] = [...(await search.pipe([query, ...texts], EMBEDDING))];
  const taken = performance.now() - begin;
  const hits = rows.map((row, i) => ({
    text: texts[i],
    score: row.data.reduce((n, x, j) => n + x * wanted.data[j], 0),
  }));
  hits.sort((a, b) => b.score - a.score);
  $('hits').replaceChildren(
    ...hits.slice(0, 5).map(({text, score}) => {
      const item = document.createElement('li'),
        left = document.createElement('span'),
        right = document.createElement('span');
      ((left.textContent = text), (right.textContent = score.toFixed(3)));
      item.style.setProperty('--share', `${Math.max(0, score) * 100}%`);
      item.append(left, right);
      return item;
    }),
  );
  $('search-figures').textContent = `${texts.length + 1} texts in ${ms(taken)}`;
};

// ---- comparison ----

/** Of at most n runs after a first one, and of fewer where they take long. */
async function median(n, fn) {
  const times = [],
    enough = performance.now() + MEASURE_MS;
  await fn();
  while (times.length < n && (times.length < 3 || performance.now() < enough)) {
    const begin = performance.now();
    await fn();
    times.push(performance.now() - begin);
  }
  return times.sort((a, b) => a - b)[times.length >> 1];
}

async function measure(device, threads) {
  const begin = performance.now();
  const embed = await pipeline('feature-extraction', new URL($('search-model').value, location.href), {
    device,
    threads,
    dtype: 'q8',
  });
  const opened = performance.now() - begin;
  const vectors = await embed(TEXTS, EMBEDDING);
  const short = await median(9, () => embed('The ferry to the island leaves at nine today.', EMBEDDING));
  const long = await median(5, () => embed(LONG, EMBEDDING));
  await embed.dispose();
  const generate = await pipeline('text-generation', new URL($('chat-model').value, location.href), {
    device,
    threads,
    numerics: 'fast',
    context_length: 256,
  });
  await generate('Once upon a time', {max_new_tokens: 48, ignore_eos: true});
  const speed = rate(generate.timings),
    [{tokens}] = generate.outputs,
    {description} = generate.devices.find(d => d.name === generate.device) ?? {};
  await generate.dispose();
  return {opened, vectors, short, long, speed, tokens, description};
}

/** How many tokens two greedy runs share before they part. */
function compareTokens(a, b) {
  const differs = a.findIndex((token, i) => token !== b[i]);
  return `${differs < 0 ? a.length : differs} of ${a.length}`;
}

function compareVectors(a, b) {
  let worst = 0,
    least = 1;
  a.data.forEach((x, i) => {
    worst = Math.max(worst, Math.abs(x - b.data[i]));
  });
  const others = [...b];
  [...a].forEach((row, r) => {
    least = Math.min(
      least,
      row.data.reduce((n, x, i) => n + x * others[r].data[i], 0),
    );
  });
  return [worst.toExponential(1), least.toFixed(6)];
}

$('measure').onclick = async () => {
  $('measure').disabled = true;
  $('rows').replaceChildren();
  let first = null;
  for (const [device, threads] of [['wasm', 1], ...(most > 1 ? [['wasm', most]] : []), ['webgpu', 1]]) {
    const row = $('rows').insertRow();
    const cell = text => {
      row.insertCell().textContent = text;
    };
    (cell(device), cell(threads));
    try {
      const m = await measure(device, threads);
      first ??= m;
      const [worst, least] = m === first ? ['–', '–'] : compareVectors(first.vectors, m.vectors);
      for (const text of [
        ms(m.opened),
        ms(m.short),
        ms(m.long),
        m.speed.toFixed(1),
        worst,
        least,
        m === first ? '–' : compareTokens(first.tokens, m.tokens),
      ])
        cell(text);
      row.cells[0].title = m.description;
      if (device !== 'wasm') row.cells[0].textContent = `${device}: ${m.description}`;
    } catch (error) {
      const why = row.insertCell();
      ((why.colSpan = 7), (why.className = 'why'), (why.textContent = error.message));
    }
  }
  $('measure').disabled = false;
};
