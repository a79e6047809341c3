/**
 * Group memberships in Redis. Each write that names groups leaves one entry of its own in every group, `key + id`, before the
 * record that carries the same id. So an entry can be removed exactly when its write is known to be over, whatever other
 * writers do meanwhile; one whose record never came is skipped by readers, and pruned by its expiry.
 *
 * A group is two sorted sets in one slot: `members` with equal scores, hence in byte order, and `expiries` scored by moment.
 */
import { hash } from 'node:crypto';

export interface GroupKeys {
  members: string;
  expiries: string;
}

/** The digest, not the group itself, is the hash tag: a group may contain braces. */
export function keysOfGroup(group: string): GroupKeys {
  const tag = hash('sha1', group, 'base64url').slice(0, 12);
  return { members: `latchkey:{${tag}}:members:${group}`, expiries: `latchkey:{${tag}}:expiries:${group}` };
}

/** Sorts as its key does. The terminator is less than anything a longer key could go on with: NUL is escaped. */
export function memberOf(key: string, id: string): string {
  return `${escaped(key)}${END}${id}`;
}

export function keyOfMember(member: string): string {
  return member.slice(0, member.lastIndexOf(END)).replaceAll(ESCAPED_NUL, '\0');
}

/** Bounds for ZRANGEBYLEX: every member whose key is greater. */
export function keysAfter(key: string | undefined): [from: string, to: string] {
  return [key === undefined ? '-' : `[${escaped(key)}${ESCAPED_NUL}`, '+'];
}

/** Bounds for ZREVRANGEBYLEX: every member whose key is less. */
export function keysBefore(key: string | undefined): [from: string, to: string] {
  return [key === undefined ? '+' : `(${escaped(key)}${END}`, '-'];
}

const END = '\0\0';
const ESCAPED_NUL = '\0\x01';
const escaped = (key: string) => key.replaceAll('\0', ESCAPED_NUL);

/**
 * A Lua function that enters a record in a group, for scripts that begin with it. `gone` is the moment the record is gone (empty:
 * never); entries gone for `margin` seconds by Redis' own clock are pruned; the group must live at least `seconds`. A group that only holds expiring entries
 * expires as a whole.
 */
export const JOIN = `
  local function join(members, expiries, member, gone, margin, seconds)
    local past = redis.call('TIME')[1] - margin
    local pruned = redis.call('ZRANGEBYSCORE', expiries, '-inf', past, 'LIMIT', 0, 100)
    if #pruned > 0 then
      redis.call('ZREM', members, unpack(pruned))
      redis.call('ZREM', expiries, unpack(pruned))
    end
    local left = redis.call('TTL', members)
    redis.call('ZADD', members, 0, member)
    if gone == '' then
      redis.call('PERSIST', members)
      redis.call('PERSIST', expiries)
      return
    end
    redis.call('ZADD', expiries, gone, member)
    if left == -1 then
      redis.call('PERSIST', expiries)
    else
      local longest = string.format('%.0f', math.max(left, tonumber(seconds)))
      redis.call('EXPIRE', members, longest)
      redis.call('EXPIRE', expiries, longest)
    end
  end
`;
