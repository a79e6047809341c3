/** A name server on loopback (RFC 1035) that says what a test wants, or nothing, and remembers what it was asked for. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv4 } from 'node:net';

/** The addresses of a name, after aliases if there are any; `nxdomain`, `servfail`, or no answer at all. */
export type Answer =
  | readonly string[]
  | { alias: string; addresses: readonly string[] }
  | 'nxdomain'
  | 'servfail'
  | 'silence';

export interface NameServer {
  /** For `createNameResolver`. */
  servers: string[];
  /** Name and type of each question, such as `app.example A`. */
  asked: string[];
  close(): Promise<void>;
}

const TYPES = { A: 1, CNAME: 5, AAAA: 28 };
const CODES = { nxdomain: 3, servfail: 2 };

/** @param answers What is not listed does not exist. A name with a type, such as `app.example AAAA`, goes before the name alone. */
export async function openNameServer(answers: Readonly<Record<string, Answer>>): Promise<NameServer> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const asked: string[] = [];
  socket.on('message', (message, { port, address }) => {
    const { name, type, end } = questionIn(message);
    const question = `${name} ${type}`;
    asked.push(question);
    const answer = answers[question] ?? answers[name] ?? 'nxdomain';
    if (answer !== 'silence') socket.send(answerTo(message.subarray(0, end), type, answer), port, address);
  });
  return {
    servers: [`127.0.0.1:${socket.address().port}`],
    asked,
    async close() {
      socket.close();
      await once(socket, 'close');
    },
  };
}

function questionIn(message: Buffer) {
  const labels: string[] = [];
  let at = 12;
  for (let length = message.readUInt8(at); length > 0; length = message.readUInt8(at)) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const type = message.readUInt16BE(at + 1) === TYPES.AAAA ? ('AAAA' as const) : ('A' as const);
  return { name: labels.join('.').toLowerCase(), type, end: at + 5 };
}

function answerTo(question: Buffer, type: 'A' | 'AAAA', answer: Exclude<Answer, 'silence'>): Buffer {
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8180 | (typeof answer === 'string' ? CODES[answer] : 0), 2);
  const records = typeof answer === 'string' ? [] : recordsOf(type, answer);
  header.writeUInt16BE(records.length, 6);
  header.fill(0, 8);
  return Buffer.concat([header, question.subarray(12), ...records]);
}

function recordsOf(type: 'A' | 'AAAA', answer: Exclude<Answer, string>): Buffer[] {
  const { alias, addresses } = 'alias' in answer ? answer : { alias: undefined, addresses: answer };
  const owner = alias === undefined ? Buffer.from([0xc0, 12]) : encoded(alias);
  const found = addresses.filter((address) => isIPv4(address) === (type === 'A'));
  const records = found.map((address) => record(owner, type, bytesOf(address)));
  return alias === undefined ? records : [record(Buffer.from([0xc0, 12]), 'CNAME', encoded(alias)), ...records];
}

function record(owner: Buffer, type: keyof typeof TYPES, data: Buffer): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(TYPES[type], 0);
  fixed.writeUInt16BE(1, 2);
  fixed.writeUInt32BE(60, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, fixed, data]);
}

function encoded(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

/** An IPv6 address is written in full here. */
function bytesOf(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  return Buffer.from(
    address
      .split(':')
      .map((group) => group.padStart(4, '0'))
      .join(''),
    'hex',
  );
}
