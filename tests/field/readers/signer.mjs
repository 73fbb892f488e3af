// oidc-provider as a workload's issuer: node signer.mjs PORT AUDIENCE ALG KEY_ID. Its keys are new at each start.
// The request's header x-changes ({"header": {}, "claims": {}}) changes what it signs; null removes a header.
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

const [port, audience, alg, kid] = process.argv.slice(2);
const { privateKey } = await generateKeyPair(alg, { extractable: true });
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [{ ...(await exportJWK(privateKey)), kid, alg, use: "sig" }] },
  clients: [{
    client_id: "job", client_secret: "a secret of the job", grant_types: ["client_credentials"],
    redirect_uris: [], response_types: [], token_endpoint_auth_method: "client_secret_post",
    id_token_signed_response_alg: alg,
  }],
  formats: {
    customizers: {
      jwt(ctx, token, parts) {
        const { header = {}, claims = {} } = JSON.parse(ctx.get("x-changes") || "{}");
        parts.header = Object.fromEntries(Object.entries(header).map(([name, value]) => [name, value ?? undefined]));
        Object.assign(parts.payload, claims);
      },
    },
  },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: () => ({
        scope: "train", audience, accessTokenFormat: "jwt", accessTokenTTL: 600, jwt: { sign: { alg, kid } },
      }),
    },
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
