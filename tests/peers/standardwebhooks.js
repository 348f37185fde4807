// Asks the library of Standard Webhooks: for each JSON line of standard input, {"secret", "id", "time", "body" (base64), "signature"},
// one JSON line: {"good": whether it verifies, "signature": what the library itself makes of it}.
const { Webhook } = require(process.argv[2]);
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter((line) => line);
for (const one of lines.map((line) => JSON.parse(line))) {
  const webhook = new Webhook(one.secret);
  const body = Buffer.from(one.body, "base64");
  const headers = { "webhook-id": one.id, "webhook-timestamp": String(one.time), "webhook-signature": one.signature };
  let good = true;
  try {
    webhook.verify(body, headers, { jsonParse: false });
  } catch (error) {
    good = false;
  }
  console.log(JSON.stringify({ good, signature: webhook.sign(one.id, new Date(one.time * 1000), body) }));
}
