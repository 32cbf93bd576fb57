// Runs the samples in a browser: signs up, imports a file, and watches the job by EventSource, as a web page would; then
// looks whether the pages of documentation find an operation and keep a credential.
//
//   node browser.mjs BROWSER BASE
import { existsSync, readFileSync } from "node:fs";
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
for (const name of ["watch", "watching"].filter((name) => existsSync(`js/samples/${name}.js`))) {
  await page.route(`${base}/sample/${name}.js`, (route) => route.fulfill({
    contentType: "text/javascript",
    body: readFileSync(`js/samples/${name}.js`, "utf8"),
  }));
}
await page.goto(`${base}/sample/`);
const seen = await page.evaluate(async (base) => {
  const { signUp, importFile, watch } = await import(`${base}/sample/watch.js`);
  const { headers } = await signUp(base);
  const rows = Array.from({ length: 500 }, (_, i) => `Ada ${i},${i}`).join("\n");
  const job = await importFile(base, headers, new Blob([`name,age\n${rows}\n`], { type: "text/csv" }));
  const drawn = [];
  const last = await watch({ stream_url: base + job.stream_url }, (progress) => drawn.push(progress));
  return { last, drawn };
}, base);
must(seen.last.status === "COMPLETED" && seen.last.progress === 100, "an import is watched to its end");
must(seen.drawn.every((progress, i) => i === 0 || progress >= seen.drawn[i - 1]), "its progress never goes back");

if (existsSync("js/samples/watching.js")) {
  const followed = await page.evaluate(async (base) => {
    const { signUp, importFile } = await import(`${base}/sample/watch.js`);
    const { keepTokens, refresh, keptTokens, watchJob, watchJobs, pollJob, startExport } =
      await import(`${base}/sample/watching.js`);
    const person = await signUp(base);
    keepTokens({ access_token: person.headers.Authorization.slice(7), refresh_token: person.refresh_token });
    const session = { base, workspace: person.headers["X-Workspace-Id"] };
    const refreshed = await Promise.all([refresh(session, keptTokens()), refresh(session, keptTokens())]);
    person.headers.Authorization = `Bearer ${keptTokens().access_token}`;
    const rows = Array.from({ length: 500 }, (_, i) => `Ada ${i},${i}`).join("\n");
    const seen = new Map();
    const stop = watchJobs(session, (jobs) => jobs.forEach((event, job) => seen.set(job, event.status)), () => {});
    const job = await importFile(base, person.headers, new Blob([`name,age\n${rows}\n`], { type: "text/csv" }));
    const statuses = await new Promise((resolve, reject) => {
      const all = [];
      watchJob(session, job.job_id, (event) => {
        all.push(event.status);
        if (["COMPLETED", "FAILED", "CANCELLED"].includes(event.status)) resolve(all);
      }, reject);
    });
    const started = await startExport(session, job.recordset_id);
    let polled;
    await pollJob(session, started.job_id, (event) => { polled = event.status; });
    for (let i = 0; i < 100 && seen.get(started.job_id) !== "COMPLETED"; i += 1) {
      await new Promise((resume) => setTimeout(resume, 100));
    }
    stop();
    return { statuses, polled, listed: seen.get(started.job_id), same: refreshed[0].refresh_token === refreshed[1].refresh_token };
  }, base);
  must(followed.same, "two refreshes at once end with the same tokens");
  must(followed.statuses.at(-1) === "COMPLETED", "a job is watched by its id");
  must(followed.polled === "COMPLETED", "a job is polled to its end");
  must(followed.listed === "COMPLETED", "one stream shows all jobs of the workspace");
}

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
