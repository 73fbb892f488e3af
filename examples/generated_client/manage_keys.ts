// Issue, list, rotate and revoke a key with types that are generated from the portal's schema.
//
// Generate the types, then run this file beside them (Node 20 or newer):
//
//   curl "$PORTAL/api/v1/schema/" -o openapi.json
//   npm install openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3 @types/node@20
//   npx openapi-typescript openapi.json -o portal.d.ts
//   npx tsc --strict --module nodenext --target es2022 --skipLibCheck manage_keys.ts
//   PORTAL=https://HOST PORTAL_KEY=hk_live_… node manage_keys.js USER
//
// PORTAL_KEY is a key with the scope portal:admin of a user who may issue keys. USER must exist.

import createClient from "openapi-fetch";
import { randomUUID } from "node:crypto";
import type { components, paths } from "./portal.js";

const portal = createClient<paths>({
  baseUrl: process.env.PORTAL!,
  headers: { Authorization: `Bearer ${process.env.PORTAL_KEY}` },
});
const user = process.argv[2];

// The data of a call that must not fail; a problem says why it did.
function checked<Data>(answer: { data?: Data; error?: components["schemas"]["Problem"] }): Data {
  if (!answer.data) throw new Error(`${answer.error?.detail} (${answer.error?.request_id})`);
  return answer.data;
}

// With an Idempotency-Key, a retry after a lost response issues no second key.
const issued = checked(await portal.POST("/api/v1/keys", {
  params: { header: { "Idempotency-Key": randomUUID() } },
  body: { user, name: "from TypeScript", preset: "reader", expires_in: "1d", environment: "live" },
}));
console.log(`issued ${issued.id}; it expires at ${issued.expires_at}`);

const page = checked(await portal.GET("/api/v1/keys", { params: { query: { user, q: issued.id } } }));
console.log(`it is ${page.results[0].state}`);

const path = { key_id: issued.id };
const rotated = checked(await portal.POST("/api/v1/keys/{key_id}/rotate", {
  params: { path, header: { "Idempotency-Key": randomUUID() } },
  body: { overlap: "1h" },
}));
console.log(`rotated; the old secret ${rotated.previous?.masked} works until ${rotated.previous?.ends_at}`);

const revoked = checked(await portal.POST("/api/v1/keys/{key_id}/revoke", {
  params: { path },
  body: { reason: "example" },
}));
console.log(`it is ${revoked.state}`);

const sums = checked(await portal.GET("/api/v1/usage"));
console.log(`${sums.results[0].calls} calls since ${sums.since}`);
