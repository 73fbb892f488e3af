import org.mlflow.tracking.MlflowClient;

public class JavaClient {
    public static void main(String[] arguments) {
        MlflowClient client = new MlflowClient(); // MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN
        String run = client.createRun(System.getenv("EXPERIMENT_ID")).getRunId();
        client.logParam(run, "depth", "3");
        client.logMetric(run, "loss", 0.5);
        client.setTerminated(run);
    }
}
