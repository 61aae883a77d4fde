// An application that logs by pino, to Loki's push API. Argument: the server's address.
import pino from 'pino';

const [host] = process.argv.slice(2);
const transport = pino.transport({
  target: 'pino-loki',
  options: { host, batching: false, labels: { app: 'pino-shop' }, silenceErrors: false },
});
const failed = (error) => {
  console.error(error);
  process.exit(1);
};
transport.on('error', failed);
const logger = pino(transport);
logger.error({ order: 42 }, 'card declined');
// Lives on as a service does: the library does not wait for its requests at the end.
setInterval(() => {}, 1000);
