// Runs the samples in a browser: signs up, imports a file, and watches the job by EventSource, as a web page would; then
// looks whether the pages of documentation find an operation and keep a credential.
//
//   node browser.mjs BROWSER BASE
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [, , executablePath, base] = process.argv;
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, headless: true, args });
const faults = [];
const must = (holds, what) => {
  console.error(`clients: browser: ${what}: ${holds ? "well" : "NOT WELL"}`);
  if (!holds) faults.push(what);
};

const page = await browser.newPage();
await page.route(`${base}/sample/`, (route) => route.fulfill({
  contentType: "text/html",
  body: "<!doctype html><html lang=en><title>Sample</title>",
}));
await page.route(`${base}/sample/watch.js`, (route) => route.fulfill({
  contentType: "text/javascript",
  body: readFileSync("js/samples/watch.js", "utf8"),
}));
await page.goto(`${base}/sample/`);
const seen = await page.evaluate(async (base) => {
  const { signUp, importFile, watch } = await import(`${base}/sample/watch.js`);
  const headers = await signUp(base);
  const rows = Array.from({ length: 500 }, (_, i) => `Ada ${i},${i}`).join("\n");
  const job = await importFile(base, headers, new Blob([`name,age\n${rows}\n`], { type: "text/csv" }));
  const drawn = [];
  const last = await watch({ stream_url: base + job.stream_url }, (progress) => drawn.push(progress));
  return { last, drawn };
}, base);
must(seen.last.status === "COMPLETED" && seen.last.progress === 100, "an import is watched to its end");
must(seen.drawn.every((progress, i) => i === 0 || progress >= seen.drawn[i - 1]), "its progress never goes back");

for (const path of ["/docs", "/api/v1/docs", "/ops/docs"]) {
  const docs = await browser.newPage();
  const refused = [];
  docs.on("console", (message) => /Content Security Policy/.test(message.text()) && refused.push(message.text()));
  docs.on("pageerror", (error) => refused.push(String(error)));
  await docs.goto(base + path);
  const search = docs.locator(".operation-filter-input");
  await search.waitFor();
  must(refused.length === 0, `${path}: its policy and its script agree ${refused.join("; ")}`);
  await search.fill(path === "/ops/docs" ? "drain_worker" : "stream_job");
  await docs.locator(".opblock-tag-section").first().waitFor();
  must(await docs.locator(".opblock-tag-section").count() <= 2, `${path}: search finds an operation`);
  await docs.close();
}
const docs = await browser.newPage();
await docs.goto(`${base}/api/v1/docs`);
await docs.locator(".btn.authorize").first().click();
await docs.locator(".modal-ux input").first().fill("a token");
await docs.locator(".modal-ux .btn.authorize").first().click();
await docs.reload();
await docs.locator(".btn.authorize.locked").first().waitFor({ timeout: 10_000 }).then(
  () => must(true, "a credential outlives a reload"),
  () => must(false, "a credential outlives a reload"),
);
await browser.close();
process.exit(faults.length ? 1 : 0);
