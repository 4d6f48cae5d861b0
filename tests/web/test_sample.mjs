// samples/web in Chromium: opens both models, asks, searches, compares; leaves screenshots in
// TERN_SCREENSHOTS if that is set.
import assert from 'node:assert/strict';
import {join} from 'node:path';
import {after, test} from 'node:test';
import {launch} from './browser.mjs';
import {needFiles} from './node_models.mjs';
import {serve} from './serve.mjs';

needFiles();
const browser = await launch(),
  server = await serve();
after(async () => {
  await browser.close();
  server.close();
});

test('the sample chats, searches and compares devices', async () => {
  const page = await browser.page(`${server.url}/samples/web/`, {width: 1120, height: 900});
  const errors = [];
  page.on('pageerror', error => errors.push(error.message));
  await page.click('#search-open');
  await page.fill('#query', 'astronomy', {timeout: 180000});
  await page.click('#find button');
  await page.waitForSelector('#hits li', {timeout: 180000});
  const hits = await page.locator('#hits li').allTextContents();
  assert.equal(hits.length, 5);
  assert.match(hits[0], /telescope/);
  assert.match(await page.textContent('#search-figures'), /^9 texts in [\d.]+ ms$/);
  await page.click('#chat-open');
  await page.fill('#question', 'What is the capital of France?', {timeout: 180000});
  await page.click('#ask button');
  await page.waitForFunction(() => document.querySelector('#chat-figures').textContent.includes('tokens/s'), null, {
    timeout: 120000,
  });
  assert.match(await page.textContent('#messages li:last-child'), /Paris/);
  await page.click('#measure');
  await page.waitForFunction(() => !document.querySelector('#measure').disabled, null, {timeout: 900000});
  const rows = await page.locator('#rows tr').allTextContents();
  console.log(rows.join('\n'));
  assert.match(rows[0], /^wasm1.*ms/);
  const last = rows.at(-1);
  // webgpu: name of the adapter, one thread, times, tokens/s, difference of the vectors, cosine, agreement of the text
  assert.match(last, /^webgpu: .+ ms.+ ms.+ ms[\d.]+e-\d+(0\.9999\d\d|1\.000000)\d+ of 48$/);
  if (rows.length > 2) assert.match(rows[1], /1\.00000048 of 48$/); // as many threads as there are: the same
  assert.deepEqual(errors, []);
  if (process.env.TERN_SCREENSHOTS) {
    await page.screenshot({path: join(process.env.TERN_SCREENSHOTS, 'sample.png'), fullPage: true});
    await page.emulateMedia({colorScheme: 'dark'});
    await page.screenshot({path: join(process.env.TERN_SCREENSHOTS, 'sample-dark.png'), fullPage: true});
  }
  await page.close();
});
