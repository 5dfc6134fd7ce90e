// A web service whose sessions are in memory alone: tells its process, and how often the session has come.
const { randomUUID } = require('crypto');
const started = randomUUID();
const sessions = new Map();

require('http').createServer((request, response) => {
  const id = /session=([^;]+)/.exec(request.headers.cookie || '')?.[1] ?? randomUUID();
  const visits = (sessions.get(id) ?? 0) + 1;
  sessions.set(id, visits);
  response.setHeader('Set-Cookie', `session=${id}`);
  response.end(`${started} ${visits}`);
}).listen(8080);
