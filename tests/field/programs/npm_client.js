const MLflow = require("mlflow");

const { MLFLOW_TRACKING_URI: endpoint, MLFLOW_TRACKING_TOKEN: key, EXPERIMENT_ID: experiment_id } = process.env;
const { Runs } = new MLflow({ endpoint, headers: { Authorization: `Bearer ${key}` } });

(async () => {
  const { run } = await Runs.create({ experiment_id, start_time: Date.now() });
  const { run_id } = run.info;
  await Runs.logParameter({ run_id, key: "depth", value: "3" });
  await Runs.logMetric({ run_id, key: "loss", value: 0.5, timestamp: Date.now(), step: 1 });
  await Runs.update({ run_id, status: "FINISHED", end_time: Date.now() });
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
