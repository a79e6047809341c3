import Router from '@koa/router';
import type Koa from 'koa';
import { type Account, displayName, isYielding } from '../accounts/account.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { Origin } from '../audit.ts';
import type { Clients } from '../clients/clients.ts';
import type { OneTimeForms } from '../console/one-time-forms.ts';
import { keptIn, type Visitor } from '../console/pages.ts';
import type { PersonalTokens } from '../credentials/personal-tokens.ts';
import { AppError, noSuch } from '../errors.ts';
import { form } from '../http/form.ts';
import { parseInput } from '../input.ts';
import {
  AccountForm,
  accountProblemIn,
  changesOf,
  emptyAccountForm,
  fillFromAccount,
  newAccountOf,
} from './account-form.ts';
import type { Choices } from './choices.ts';
import { type AdminConsole, type AdminNotice, actorOf } from './pages.ts';
import { ListQuery, mentions, search } from './search.ts';

const ACCOUNTS = '/admin/accounts';
/** As many permissions as there may be, and the other fields. */
const FIELDS = 300;

export interface AccountRoutesOptions {
  pages: AdminConsole;
  forms: OneTimeForms;
  accounts: Accounts;
  personalTokens: Pick<PersonalTokens, 'count'>;
  choices: Choices;
  clients: Pick<Clients, 'get'>;
}

/** What is done to an account as a whole, after a page that says what it means. */
interface Change {
  notice: AdminNotice;
  danger: boolean;
  path: (id: string) => string;
  /** Which of the person's API tokens the page that asks counts. */
  counts?: 'working' | 'ended';
  run(id: string, origin: Origin): Promise<unknown>;
}

export function accountRoutes(options: AccountRoutesOptions): Router {
  const { pages, forms, accounts, personalTokens, choices, clients } = options;
  const router = new Router({ prefix: ACCOUNTS });
  const harmless = { danger: false, path: pathOf };
  const grave = { danger: true, path: pathOf };
  const changes: Record<string, Change> = {
    approve: { ...harmless, notice: 'account_approved', run: accounts.approve },
    enable: { ...harmless, notice: 'account_enabled', counts: 'ended', run: accounts.enable },
    disable: { ...grave, notice: 'account_disabled', counts: 'working', run: accounts.disable },
    delete: { ...grave, notice: 'account_deleted', path: () => ACCOUNTS, run: accounts.remove },
    'make-administrator': {
      ...harmless,
      notice: 'administrator_made',
      run: (id, origin) => accounts.update(id, { administrator: true }, origin),
    },
    'remove-administrator': {
      ...grave,
      notice: 'administrator_removed',
      run: (id, origin) => accounts.update(id, { administrator: false }, origin),
    },
  };

  router.get(
    '/',
    pages.signedIn(async function listAccounts(ctx, visitor) {
      const { q, status, after } = ListQuery.parse(ctx.query);
      const hasStatus = (account: Account) => status === '' || account.status === status;
      const { found, next } = await search({
        async list(page) {
          const { accounts: records, ...rest } = await accounts.list(page);
          return { records, ...rest };
        },
        matches: (account) => hasStatus(account) && isMeant(account, q),
        after,
      });
      // A whole e-mail is found however many accounts there are.
      const exact = after === undefined ? await accounts.findByEmail(q) : undefined;
      if (exact && hasStatus(exact) && !found.some(({ id }) => id === exact.id)) found.push(exact);
      const organizations = await choices.organizationNames(found.map(({ organizationId }) => organizationId));
      const people = found.map(shown).toSorted((a, b) => a.name.localeCompare(b.name));
      const data = { people, organizations, q, status, next, after };
      await pages.render(ctx, visitor, { section: 'accounts', view: 'accounts', data });
    }),
  );

  router.get(
    '/new',
    pages.recentlySignedIn(async function showNewAccount(ctx, visitor) {
      await showForm(ctx, visitor, { filled: keptIn(visitor, AccountForm) ?? emptyAccountForm() });
    }),
  );

  router.post(
    '/new',
    form({ fields: FIELDS }),
    pages.recentlySignedIn(async function createAccount(ctx, visitor) {
      const sent = parseInput(AccountForm, ctx.request.body);
      try {
        if (!(await forms.take(visitor.account.id, sent.form))) return pages.redirect(ctx, ACCOUNTS, 'form_used');
        const { id } = await accounts.create(newAccountOf(sent), actorOf(visitor));
        pages.redirect(ctx, pathOf(id), 'account_created');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sent, error });
      }
    }),
  );

  router.get(
    '/:id',
    pages.signedIn(async function showAccount(ctx, visitor) {
      const account = await existing(ctx.params.id);
      const data = {
        person: shown(account),
        saidBy: await nameOfApp(account.emailSaidBy),
        isSelf: account.id === visitor.account.id,
        permissions: (await choices.permissions()).filter(({ name }) => account.permissions.includes(name)),
        organization: (await choices.organizationNames([account.organizationId])).get(account.organizationId ?? ''),
      };
      await pages.render(ctx, visitor, { section: 'accounts', view: 'account', data });
    }),
  );

  router.get(
    '/:id/edit',
    pages.recentlySignedIn(async function showEdit(ctx, visitor) {
      const account = await existing(ctx.params.id);
      await showForm(ctx, visitor, { filled: keptIn(visitor, AccountForm) ?? fillFromAccount(account), account });
    }),
  );

  router.post(
    '/:id/edit',
    form({ fields: FIELDS }),
    pages.recentlySignedIn(async function changeAccount(ctx, visitor) {
      const account = await existing(ctx.params.id);
      const sent = parseInput(AccountForm, ctx.request.body);
      try {
        await accounts.update(account.id, changesOf(sent), actorOf(visitor));
        pages.redirect(ctx, pathOf(account.id), 'account_saved');
      } catch (error) {
        await showForm(ctx, visitor, { filled: sent, account, error });
      }
    }),
  );

  for (const [name, { notice, danger, path, counts, run }] of Object.entries(changes)) {
    const what = `account_${name.replace('-', '_')}`;
    router.get(
      `/:id/${name}`,
      pages.recentlySignedIn(async function confirmChange(ctx, visitor) {
        const account = await existing(ctx.params.id);
        await confirm(ctx, visitor, { account, what, danger, tokens: await counted(account, counts) });
      }),
    );
    router.post(
      `/:id/${name}`,
      form(),
      pages.recentlySignedIn(async function change(ctx, visitor) {
        const account = await existing(ctx.params.id);
        try {
          await run(account.id, actorOf(visitor));
        } catch (error) {
          if (!(error instanceof AppError) || error.code !== 'conflict' || !error.field) throw error;
          ctx.status = error.status;
          const tokens = await counted(account, counts);
          return confirm(ctx, visitor, { account, what, danger, tokens, problem: error.field });
        }
        pages.redirect(ctx, path(account.id), notice);
      }),
    );
  }

  async function showForm(
    ctx: Koa.Context,
    visitor: Visitor,
    { filled, account, error }: { filled: AccountForm; account?: Account; error?: unknown },
  ) {
    const problem = error === undefined ? undefined : accountProblemIn(error);
    if (problem) ctx.status = (error as AppError).status;
    const { password: _, ...shownAgain } = filled;
    const data = {
      person: account && shown(account),
      filled: shownAgain,
      problem,
      organizations: await choices.organizations(),
      permissions: await choices.permissions(),
      form: await forms.open(visitor.account.id),
    };
    await pages.render(ctx, visitor, { section: 'accounts', view: 'account-form', data });
  }

  async function confirm(
    ctx: Koa.Context,
    visitor: Visitor,
    {
      account,
      ...data
    }: { account: Account; what: string; danger: boolean; tokens: number | undefined; problem?: string },
  ) {
    const about = { name: displayName(account), detail: account.email || account.id, back: pathOf(account.id) };
    const page = { ...about, ...data, action: ctx.path };
    await pages.render(ctx, visitor, { section: 'accounts', view: 'confirm', data: page });
  }

  /** Of one that is gone, its id. */
  async function nameOfApp(id: string | undefined): Promise<string | undefined> {
    return id && ((await clients.get(id))?.name ?? id);
  }

  async function counted(account: Account, which: Change['counts']): Promise<number | undefined> {
    return which && (await personalTokens.count(account))[which];
  }

  async function existing(id: unknown): Promise<Account> {
    const account = await accounts.get(String(id));
    if (!account) throw noSuch('account', String(id));
    return account;
  }

  return router;
}

function pathOf(id: string): string {
  return `${ACCOUNTS}/${id}`;
}

/** Without what a page must not show. */
function shown({ passwordHash, ...account }: Account) {
  const whole = { ...account, passwordHash };
  return {
    ...account,
    name: displayName(whole),
    hasPassword: passwordHash !== undefined,
    isYielding: isYielding(whole),
  };
}

/** By the beginning of the e-mail that is or was theirs, or by name. */
function isMeant(account: Account, query: string): boolean {
  const email = account.email || (account.emailGivenUp ?? '');
  return email.startsWith(query.toLowerCase()) || mentions([displayName(account)], query);
}
