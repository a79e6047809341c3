/** Debian's Chromium without a screen, for what only a real browser can tell. */
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium } from 'playwright-core';

const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGUMENTS });
}

export interface Person {
  context: BrowserContext;
  /** What went wrong on any page so far: console errors, Content Security Policy violations among them, and uncaught exceptions. */
  problems: string[];
}

/** A browser profile of its own: no cookies yet. */
export async function openProfile(browser: Browser, options: BrowserContextOptions = {}): Promise<Person> {
  const context = await browser.newContext(options);
  const problems: string[] = [];
  context.on('console', (message) => {
    if (message.type() === 'error') problems.push(`${message.location().url}: ${message.text()}`);
  });
  context.on('weberror', (error) => problems.push(String(error.error())));
  return { context, problems };
}
