// The sample of docs/conventions.md, typed by what a generator makes of the document.
import type { components, paths } from "../generated/workspace";

type Job = components["schemas"]["JobStarted"];
type Message = components["schemas"]["JobEventMessage"];
type Started = paths["/recordsets/import"]["post"]["responses"]["202"]["content"]["application/json"];

export function watch(job: Pick<Job, "stream_url">, draw: (progress: number, done: number) => void): Promise<Message> {
  return new Promise((resolve) => {
    const events = new EventSource(job.stream_url);
    events.onmessage = ({ data }) => {
      const event: Message = JSON.parse(data);
      if (event.status === "HEARTBEAT" || event.status === "GAP") return;
      if (event.status === "CLOSED") {
        events.close();
        resolve(event);
        return;
      }
      draw(event.progress, event.counts.done);
      if (event.status === "COMPLETED" || event.status === "FAILED" || event.status === "CANCELLED") {
        events.close();
        resolve(event);
      }
    };
  });
}

export async function importFile(base: string, headers: HeadersInit, file: Blob): Promise<Started> {
  const form = new FormData();
  form.append("file", file, "people.csv");
  const uploaded = await fetch(`${base}/api/v1/recordsets/import/upload`, { method: "POST", headers, body: form });
  const { file_uri }: components["schemas"]["Uploaded"] = await uploaded.json();
  const wanted: components["schemas"]["RecordsetImport"] = { file_uri, name: "People" };
  const answer = await fetch(`${base}/api/v1/recordsets/import`, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/json" },
    body: JSON.stringify(wanted),
  });
  if (answer.status === 202) return answer.json();
  const error: components["schemas"]["UnprocessableContentError"] = await answer.json();
  throw new Error(`${error.error}: ${error.detail}`);
}

export interface Person {
  headers: Record<string, string>;
  refresh_token: string;
}

export async function signUp(base: string): Promise<Person> {
  const wanted: components["schemas"]["Signup"] = {
    email: `ada-${Date.now()}@example.com`,
    password: "correct horse battery staple",
    full_name: "Ada Lovelace",
    company_name: "Analytical Engines",
  };
  const answer = await fetch(`${base}/api/v1/auth/signup`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(wanted),
  });
  if (!answer.ok) throw new Error(await answer.text());
  const signedUp: components["schemas"]["SignedUp"] = await answer.json();
  return {
    headers: { Authorization: `Bearer ${signedUp.access_token}`, "X-Workspace-Id": signedUp.workspace_id },
    refresh_token: signedUp.refresh_token,
  };
}
