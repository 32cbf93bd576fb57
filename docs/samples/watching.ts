// The samples of docs/web-developers.md, as one module without dependencies. The page shows the parts between
// `#region` and `#endregion` as they are here.

// #region session
export interface Tokens {
  access_token: string;
  refresh_token: string;
}

export interface Session {
  /** Where the API is, without a path: "https://millrace.example". */
  base: string;
  workspace: string;
}

const KEPT = "millrace.tokens";

export function keepTokens(tokens: Tokens | null): void {
  if (tokens) localStorage.setItem(KEPT, JSON.stringify(tokens));
  else localStorage.removeItem(KEPT);
}

export function keptTokens(): Tokens | null {
  const kept = localStorage.getItem(KEPT);
  return kept ? (JSON.parse(kept) as Tokens) : null;
}
// #endregion

// #region refresh
/** New tokens in place of `used`, once for all tabs: a tab that waited for the lock finds what the other one got. */
export async function refresh(session: Session, used: Tokens): Promise<Tokens | null> {
  return navigator.locks.request("millrace.refresh", async () => {
    const kept = keptTokens();
    if (kept?.refresh_token !== used.refresh_token) return kept;
    const answer = await fetch(`${session.base}/api/v1/auth/refresh`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ refresh_token: used.refresh_token }),
    });
    if (answer.status === 401) {
      keepTokens(null); // signed out: here, in another tab or on another device
      return null;
    }
    if (!answer.ok) throw new Error(`refresh: ${answer.status}`);
    const tokens = (await answer.json()) as Tokens;
    keepTokens(tokens);
    return tokens;
  });
}
// #endregion

// #region call
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfter: number,
  ) {
    super(detail);
  }
}

/** Calls the Workspace API; refreshes once when the access token has expired. */
export async function call<T>(session: Session, method: string, path: string, body?: unknown): Promise<T> {
  const key = crypto.randomUUID(); // the same for each try, so that a POST has one effect
  for (let tried = false; ; tried = true) {
    const tokens = keptTokens();
    if (!tokens) throw new ApiError(401, "token_missing", "sign in first", 0);
    const answer = await fetch(`${session.base}${path}`, {
      method,
      headers: {
        Authorization: `Bearer ${tokens.access_token}`,
        "X-Workspace-Id": session.workspace,
        ...(method === "POST" && { "Idempotency-Key": key }),
        ...(body !== undefined && { "Content-Type": "application/json" }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    const json = text ? JSON.parse(text) : undefined;
    if (answer.ok) return json as T;
    // The workspace asks for a more recent sign-in. New tokens would be of the same one: show the sign-in.
    if (json?.error === "sign_in_required") keepTokens(null);
    else if (answer.status === 401 && !tried && (await refresh(session, tokens))) continue;
    const retryAfter = Number(answer.headers.get("Retry-After") ?? 0);
    throw new ApiError(answer.status, json?.error ?? "unknown", json?.detail ?? text, retryAfter);
  }
}
// #endregion

// #region start
export interface JobStarted {
  job_id: string;
  status_url: string;
  stream_url: string;
}

/** Starts an export; the answer says where to watch it. */
export function startExport(session: Session, recordset: string): Promise<JobStarted> {
  return call(session, "POST", "/api/v1/recordsets/export", { recordset_id: recordset, format: "csv" });
}
// #endregion

// #region open
export interface StreamEvent {
  status: string;
  job_id?: string;
  seq?: number;
  progress?: number;
  message?: string;
  error_message?: string;
  reason?: string;
  kind?: string;
}

/** Heartbeats come every 15 s: a stream that says nothing for this long is dead, whatever the browser believes. */
const SILENCE = 40_000;
const MAX_PAUSE = 60_000;

/**
 * Keeps a stream open until `show` answers true or the returned function is called. `url` gets a URL with a fresh
 * ticket, each time that one is needed.
 */
export function keepOpen(
  session: Session,
  url: () => Promise<string>,
  show: (event: StreamEvent) => boolean | void,
  failed: (error: unknown) => void,
  opened?: () => void,
): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let over = false;
  let pause = 1_000;

  const stop = () => {
    over = true;
    clearTimeout(timer);
    source?.close();
  };
  const again = (after: number) => {
    source?.close();
    clearTimeout(timer);
    if (!over) timer = setTimeout(() => void open(), after);
  };
  const watchdog = () => {
    clearTimeout(timer);
    timer = setTimeout(() => again(0), SILENCE);
  };
  const open = async () => {
    try {
      const path = await url();
      if (over) return;
      source = new EventSource(session.base + path);
    } catch (error) {
      if (error instanceof ApiError && error.status !== 429 && error.status < 500) {
        stop(); // signed out, or no longer a member
        failed(error);
        return;
      }
      again(error instanceof ApiError && error.retryAfter ? error.retryAfter * 1_000 : pause);
      pause = Math.min(pause * 2, MAX_PAUSE);
      return;
    }
    watchdog();
    source.onopen = () => opened?.();
    source.onmessage = ({ data }) => {
      watchdog();
      pause = 1_000;
      const event = JSON.parse(data) as StreamEvent;
      if (event.status === "HEARTBEAT") return;
      if (event.status === "CLOSED") return again(0); // a fresh URL tells whether there is still a way in
      if (show(event)) stop();
    };
    source.onerror = () => {
      // 0: the browser is connecting again by itself. 2: it has given up, as after any answer that is no stream:
      // 204 at the end, 401, 404, 429, 503.
      if (source?.readyState === EventSource.CLOSED) {
        again(pause);
        pause = Math.min(pause * 2, MAX_PAUSE);
      }
    };
  };
  void open();
  return stop;
}
// #endregion

// #region job
export const isOver = (status: string) => ["COMPLETED", "FAILED", "CANCELLED"].includes(status);

/** Watches one job, also one that another person or device started. */
export function watchJob(
  session: Session,
  job: string,
  show: (event: StreamEvent) => void,
  failed: (error: unknown) => void,
): () => void {
  const url = async () => (await call<JobStarted>(session, "GET", `/api/v1/jobs/${job}`)).stream_url;
  let last = -1;
  return keepOpen(
    session,
    url,
    (event) => {
      if (event.seq !== undefined && event.seq > last) {
        last = event.seq;
        show(event);
      }
      return isOver(event.status);
    },
    failed,
  );
}
// #endregion

// #region jobs
export interface Page<T> {
  items: T[];
}

/** Shows the workspace's jobs as they are, by one stream: once it is open, the list, then what happens. */
export function watchJobs(
  session: Session,
  show: (jobs: Map<string, StreamEvent>) => void,
  failed: (error: unknown) => void,
): () => void {
  const jobs = new Map<string, StreamEvent>();
  const take = (event: StreamEvent) => {
    const known = jobs.get(event.job_id!);
    // An event may come again after a break: only what is newer counts.
    if (!known || event.seq! > known.seq!) jobs.set(event.job_id!, { ...known, ...event });
  };
  const list = () => {
    call<Page<StreamEvent>>(session, "GET", "/api/v1/jobs?page_size=100").then((page) => {
      page.items.forEach(take);
      show(jobs);
    }, failed);
  };
  const url = async () =>
    (await call<{ stream_url: string }>(session, "GET", "/api/v1/jobs/stream-url")).stream_url;
  return keepOpen(
    session,
    url,
    (event) => {
      if (event.status === "GAP") return list();
      take(event);
      show(jobs);
    },
    failed,
    list,
  );
}
// #endregion

// #region poll
/** The same without EventSource: each request waits up to 30 s for something newer. */
export async function pollJob(session: Session, job: string, show: (event: StreamEvent) => void): Promise<void> {
  for (let seq = 0; ; ) {
    try {
      const path = `/api/v1/jobs/${job}?since=${seq}&wait=30`;
      const event = await call<StreamEvent>(session, "GET", path);
      if (event.seq! > seq) show(event);
      if (isOver(event.status)) return;
      seq = event.seq!;
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 429) throw error;
      await new Promise((resume) => setTimeout(resume, error.retryAfter * 1_000));
    }
  }
}
// #endregion
