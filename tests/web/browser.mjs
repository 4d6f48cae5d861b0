// Headless Chromium for the tests and the comparison: Debian's, driven by playwright-core.
import {existsSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {skip} from './node_models.mjs';

const CHROMIUM = process.env.TERN_CHROMIUM ?? '/usr/bin/chromium';

/** A browser with a profile of its own: {page(url), close()}. Pages print their console and errors when verbose. webgpu:
 *  whether it has an adapter. */
export async function launch({args = [], webgpu = true} = {}) {
  if (!existsSync(CHROMIUM)) skip(`${CHROMIUM} is missing (apt-get install chromium)`);
  const {chromium} = await import('playwright-core').catch(() =>
    skip('playwright-core is missing (npm ci in tests/web)'),
  );
  const profile = mkdtempSync(join(tmpdir(), 'tern-web-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    headless: true,
    args: [
      '--no-sandbox',
      ...(webgpu ? ['--enable-unsafe-webgpu'] : []),
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...args,
    ],
  });
  return {
    context,
    async page(url, {width = 1100, height = 800} = {}) {
      const page = await context.newPage();
      await page.setViewportSize({width, height});
      page.on('pageerror', error => console.log(`page error: ${error.message}`));
      if (process.env.TERN_VERBOSE) page.on('console', message => console.log(`page: ${message.text()}`));
      await page.goto(url);
      return page;
    },
    async close() {
      await context.close();
      rmSync(profile, {recursive: true, force: true});
    },
  };
}
