/** Where a provider is for the people who sign in there. Loads nothing of how they do. */
import { GITHUB_API } from './github.ts';
import { GOOGLE_ISSUERS } from './google.ts';
import type { IdentityProvider } from './identity-provider.ts';

type Place = Pick<IdentityProvider, 'kind' | 'issuer' | 'baseUrl'>;

export function addressOf(provider: Place): string {
  return provider.kind === 'github' ? githubAddress(provider) : openIdAddress(provider);
}

/** Where people are, beside the API: github.com, and what Enterprise hosts and their clouds make of it. */
export function githubAddress({ baseUrl = GITHUB_API }: Pick<IdentityProvider, 'baseUrl'>): string {
  const { protocol, host, pathname } = new URL(baseUrl);
  return `${protocol}//${host.replace(/^api\./, '')}${pathname.replace(/(\/api\/v3)?\/*$/, '')}`;
}

/** Where the provider is, and what it may call itself. */
export function openIdAddress({
  kind,
  issuer,
  baseUrl,
}: Pick<IdentityProvider, 'kind' | 'issuer' | 'baseUrl'>): string {
  return (kind === 'google' ? baseUrl : issuer) ?? GOOGLE_ISSUERS[0];
}
