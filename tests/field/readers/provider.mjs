// A certified OpenID provider: node provider.mjs PORT REDIRECT_URI METHOD userinfo|none
import Provider from "oidc-provider";

const [port, redirectUri, method, userinfo] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: "portal",
    client_secret: "a secret of the client",
    redirect_uris: [redirectUri],
    token_endpoint_auth_method: method,
  }],
  clientAuthMethods: method === "client_secret_basic" ? [method] : ["client_secret_basic", method],
  features: { userinfo: { enabled: userinfo === "userinfo" } },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  conformIdTokenClaims: false, // the claims are also in the id token
  findAccount: (context, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@example.com`, email_verified: true }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
