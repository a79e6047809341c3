/**
 * What a browser says it is (RFC 9110 §10.1.5), in two words. Anybody can send any text here, so nothing of the text itself is
 * shown, only names from these lists. The first that fits counts: most browsers claim to be several.
 */
const BROWSERS = [
  [/\b(Edg|EdgA|EdgiOS)\//, 'Edge'],
  [/\b(OPR|OPT|OPiOS)\//, 'Opera'],
  [/\bSamsungBrowser\//, 'Samsung Internet'],
  [/\bVivaldi\//, 'Vivaldi'],
  [/\b(Firefox|FxiOS)\//, 'Firefox'],
  [/\b(Chrome|CriOS|Chromium|HeadlessChrome)\//, 'Chrome'],
  [/\bVersion\/[\d.]+ .*\bSafari\//, 'Safari'],
  [/^curl\//, 'curl'],
] as const;

const SYSTEMS = [
  [/\b(iPhone|iPod)\b/, 'iPhone'],
  [/\biPad\b/, 'iPad'],
  [/\bAndroid\b/, 'Android'],
  [/\bCrOS\b/, 'ChromeOS'],
  [/\bWindows\b/, 'Windows'],
  [/\b(Macintosh|Mac OS X)\b/, 'macOS'],
  [/\b(Linux|X11)\b/, 'Linux'],
] as const;

export interface Device {
  browser?: string;
  system?: string;
}

export function deviceOf(userAgent: string | undefined): Device {
  const browser = nameIn(BROWSERS, userAgent);
  const system = nameIn(SYSTEMS, userAgent);
  return { ...(browser ? { browser } : {}), ...(system ? { system } : {}) };
}

/** Firefox, Linux */
export function deviceInWords(userAgent: string | undefined): string | undefined {
  return Object.values(deviceOf(userAgent)).join(', ') || undefined;
}

function nameIn(list: ReadonlyArray<readonly [RegExp, string]>, userAgent = ''): string | undefined {
  return list.find(([pattern]) => pattern.test(userAgent))?.[1];
}
