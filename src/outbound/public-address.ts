import { BlockList, isIPv4, isIPv6 } from 'node:net';

/**
 * True for an address of the public internet; false for every other one and for what is no address. An IPv4 address in an IPv6
 * one, mapped (RFC 4291 §2.5.5.2) or translated (RFC 6052 §2.1), counts as itself.
 */
export function isPublicAddress(address: string): boolean {
  return contains(GLOBAL, address) && !contains(SPECIAL, address);
}

/** @param cidrs A bare address is a CIDR of one. */
export function addressList(cidrs: readonly string[]): BlockList {
  const list = new BlockList();
  for (const cidr of cidrs) {
    const [address = '', bits] = cidr.split('/');
    const family = isIPv4(address) ? 'ipv4' : 'ipv6';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list;
}

/** An IPv4 range of the list holds the IPv6-mapped forms of its addresses too. */
export function contains(list: BlockList, address: string): boolean {
  if (isIPv4(address)) return list.check(address, 'ipv4');
  return isIPv6(address) && list.check(address, 'ipv6');
}

/** What is not for the public within what is (IANA special-purpose registries, RFC 6890). */
const SPECIAL_IPV4 = [
  '0.0.0.0/8', // this host
  '10.0.0.0/8', // private
  '100.64.0.0/10', // carrier-grade NAT
  '127.0.0.0/8', // loopback
  '168.63.129.16/32', // the host of a machine in Azure, under a public address
  '169.254.0.0/16', // link-local, metadata of cloud machines
  '172.16.0.0/12', // private
  '192.0.0.0/24', // protocol assignments
  '192.0.2.0/24', // documentation
  '192.31.196.0/24', // AS112
  '192.52.193.0/24', // multicast tunnelling
  '192.88.99.0/24', // 6to4 relays
  '192.168.0.0/16', // private
  '192.175.48.0/24', // AS112
  '198.18.0.0/15', // benchmarking
  '198.51.100.0/24', // documentation
  '203.0.113.0/24', // documentation
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, broadcast
];

const SPECIAL_IPV6 = [
  '2001::/23', // protocol assignments: Teredo, benchmarking, ORCHID
  '2001:db8::/32', // documentation
  '2002::/16', // 6to4
  '2620:4f:8000::/48', // AS112
  '3fff::/20', // documentation
];

/** Translation to IPv4 by a network that has only IPv6. */
const NAT64 = '64:ff9b::';

const GLOBAL = addressList(['0.0.0.0/0', '2000::/3', `${NAT64}/96`]);
const SPECIAL = addressList([...SPECIAL_IPV4, ...SPECIAL_IPV4.map(translated), ...SPECIAL_IPV6]);

function translated(cidr: string): string {
  const [address, bits] = cidr.split('/');
  return `${NAT64}${address}/${96 + Number(bits)}`;
}
